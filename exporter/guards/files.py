"""What an application takes along: space.json, and a guard in its language."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from exporter.hashing import sha256_file
from exporter.records import write_json
from exporter.space import SPACE_NAME, Space

STATIC = Path(__file__).parent / "static"
GUARDS = ("guard.py", "guard.mjs", "guard.go")
FOLDER = "guard"
"""Of a package, that holds them."""


def write_guard(folder: Path, space: Space) -> None:
    """Write space.json and the guards into an existing folder."""
    write_json(folder / SPACE_NAME, space)
    copy_guards(folder)


def copy_guards(folder: Path) -> None:
    """Copy the guards into an existing folder."""
    for name in GUARDS:
        shutil.copyfile(STATIC / name, folder / name)


def shipped_guards() -> Mapping[str, str]:
    """Return path in a package -> SHA-256 of each guard."""
    return {f"{FOLDER}/{name}": sha256_file(STATIC / name) for name in GUARDS}
