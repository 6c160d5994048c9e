"""Scripts of a package: only those that the installed tool itself would write are ever run."""

from collections.abc import Mapping
from pathlib import Path

from exporter.guards.files import shipped_guards
from exporter.hashing import sha256_file

RUN = (".cjs", ".html", ".js", ".mjs", ".py", ".wasm")
"""Endings of what Python, Node or a browser runs."""


def foreign_scripts(folder: Path, shipped: Mapping[str, str]) -> list[str]:
    """Return a line for each script of the package that is not, byte for byte, one of `shipped` or
    a guard."""
    known = {**shipped, **shipped_guards()}
    return [
        f"'{name}' is not what this version of the tool ships, so nothing was run; package again"
        for name, path in sorted(
            (path.relative_to(folder).as_posix(), path)
            for path in folder.rglob("*")
            if path.suffix in RUN and path.is_file()
        )
        if name not in known or sha256_file(path) != known[name]
    ]
