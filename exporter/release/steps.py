"""The bookkeeping of a release: which steps are done, and what they depended on."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporter import __version__
from exporter.errors import BadInput
from exporter.manifest import RECORDED_LIBRARIES, library_versions
from exporter.parsing import parse_json
from exporter.records import canonical_json, write_json
from exporter.staging import lock_file

STEPS_NAME = "release.json"
BEGUN = "begun"


class Steps:
    """Which steps are done, by the hash of everything they depend on. Kept in release.json."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / STEPS_NAME
        try:
            data: Any = parse_json(self.path.read_bytes(), STEPS_NAME, remedy="")
            self.done: dict[str, str] = {str(k): str(v) for k, v in data.items()}
        except (OSError, BadInput, AttributeError):
            # Lost or damaged bookkeeping repeats the work, it does not stop it.
            self.done = {}

    def is_done(self, name: str, depends: str) -> bool:
        """Return whether the step was finished with exactly these inputs."""
        return self.done.get(name) == depends

    def is_ours(self, name: str) -> bool:
        """Return whether a release has written, or begun to write, what stands under `name`."""
        return name in self.done

    def begin(self, name: str) -> None:
        """Record that `name` is about to be written: a run killed between a folder's appearance
        and its record may replace it."""
        self._write(name, BEGUN)

    def finish(self, name: str, depends: str) -> None:
        """Record the step, at once: a run that is stopped resumes behind it."""
        self._write(name, depends)

    def forget(self, name: str) -> None:
        """Record that nothing of a release stands under `name` any more."""
        del self.done[name]
        self._save()

    def _write(self, name: str, state: str) -> None:
        self.done[name] = state
        self._save()

    def _save(self) -> None:
        write_json(self.path, dict(sorted(self.done.items())))


@contextlib.contextmanager
def release_folder(output: Path) -> Iterator[Steps]:
    """Yield the steps of the release in `output`, which no other run writes meanwhile.

    What a killed run left half-written is removed. Raises BadInput where another run is going on.
    """
    output.mkdir(parents=True, exist_ok=True)
    lock = output / f".{STEPS_NAME}.lock"
    with lock_file(lock, what=f"'{output}'", remedy="wait for it, or pass another --output"):
        steps = Steps(output)
        _remove_leftovers(output, steps)
        yield steps


def _remove_leftovers(output: Path, steps: Steps) -> None:
    for name in steps.done:
        place = output / name
        shutil.rmtree(place.with_name(f".{place.name}.partial"), ignore_errors=True)


def fingerprint(*parts: Any) -> str:
    """Return a hash of values and of this package's own source and libraries."""
    source = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            source.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    everything = [__version__, library_versions(RECORDED_LIBRARIES), source.hexdigest(), *parts]
    return hashlib.sha256(canonical_json(everything).encode()).hexdigest()
