"""The files of recipes/: beside the package in a working copy, else where pip put them."""

from importlib import metadata
from pathlib import Path

from exporter.errors import BadInput

BESIDE = Path(__file__).resolve().parents[1]


def bundled(name: str) -> Path:
    """Return a bundled file, `name` as in the repository: recipes/lawvault.toml.

    Raises BadInput where it was not installed.
    """
    beside = BESIDE / name
    if beside.is_file():
        return beside
    try:
        installed = metadata.files("lawvault-exporter") or []
    except metadata.PackageNotFoundError:
        installed = []
    for entry in installed:
        if entry.as_posix().endswith(name):
            return Path(str(entry.locate())).resolve()
    raise BadInput(f"'{name}' was not installed with lawvault-exporter; install it again")
