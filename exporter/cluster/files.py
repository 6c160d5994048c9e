"""The files of a model on every machine of a cluster, checked there by their hashes."""

import getpass
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from exporter.errors import BadInput
from exporter.hashing import sha256_file
from exporter.runtimes.encoder import Portable

PIECE_BYTES = 64 * 2**20
"""A file travels in pieces: an object of Ray's store lies in memory as a whole."""

Pieces = Mapping[str, tuple[Any, ...]]
"""Name of a file -> references to its pieces, in order."""


def put_files(ray: Any, portable: Portable) -> Pieces:
    """Put the files into the cluster's object store. They stay while the result is held.

    Raises BadInput where a file is not what its hash says.
    """
    found = {}
    for name, digest in portable.files:
        path = portable.folder / name
        if not path.is_file() or sha256_file(path) != digest:
            raise BadInput(f"'{path}' changed after it was read; make it again")
        found[name] = tuple(ray.put(piece) for piece in _pieces(path))
    return found


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as handle:
        while piece := handle.read(PIECE_BYTES):
            yield piece


def get_files(ray: Any, portable: Portable, pieces: Pieces) -> Path:
    """Return a folder of this machine that holds the files: the caller's own, where it lies here
    too, else a copy, which later runs find again. Raises BadInput where a copy is not the same."""
    if _same(portable.folder, portable):
        return portable.folder
    kept = Path(tempfile.gettempdir()) / f"lawvault-{getpass.getuser()}"
    kept.mkdir(mode=0o700, exist_ok=True)
    if kept.is_symlink() or kept.stat().st_mode & 0o022:
        raise BadInput(f"others may write into '{kept}'; remove it on that machine")
    folder = kept / portable.digest
    with FileLock(kept / f"{portable.digest}.lock"):
        if _same(folder, portable):
            return folder
        stage = kept / f"{portable.digest}.partial"
        shutil.rmtree(stage, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        for name, parts in pieces.items():
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as handle:
                for part in parts:
                    handle.write(ray.get(part))
        if not _same(stage, portable):
            shutil.rmtree(stage, ignore_errors=True)
            raise BadInput("the files of the model did not arrive as they were sent; run it again")
        stage.rename(folder)
    return folder


def _same(folder: Path, portable: Portable) -> bool:
    return all(
        (folder / name).is_file() and sha256_file(folder / name) == digest
        for name, digest in portable.files
    )
