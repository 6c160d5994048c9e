"""The files that ship with the tool: package data of a wheel, in a repository their own folders."""

from importlib.resources import files
from pathlib import Path

from exporter.errors import BadInput

MINIATURE = "miniature/lawvault-mini"
IN_REPOSITORY = {MINIATURE: "parity_tests/fixtures/lawvault-mini"}


def bundled(name: str) -> Path:
    """Return a bundled file or folder by its name in the wheel: recipes/lawvault.toml.

    Raises BadInput where it was not installed.
    """
    package = Path(str(files("exporter")))
    for path in (package / name, package.parent / IN_REPOSITORY.get(name, name)):
        if path.exists():
            return path
    raise BadInput(f"'{name}' was not installed with lawvault-exporter; install it again")


def miniature() -> Path:
    """Return the folder of the bundled checkpoint: proves that code runs, never that it is good."""
    return bundled(MINIATURE)
