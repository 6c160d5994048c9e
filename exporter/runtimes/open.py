"""Open an artifact in its home runtime."""

from pathlib import Path

from exporter.manifest import check_files, read_manifest
from exporter.registry import ENCODERS, resolve
from exporter.runtimes.encoder import Encoder


def open_artifact(folder: Path, *, threads: int | None = None) -> Encoder:
    """Check the files of an artifact against its manifest, then load it.

    Raises BadInput for a damaged folder, MissingDependency where the runtime is not installed.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    encoder: Encoder = resolve(ENCODERS, manifest.kind, kind="artifact kind")(
        folder, threads=threads
    )
    return encoder
