"""LanceDB itself: whether it is installed, a connection to a folder, its errors for people."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporter.errors import BadInput, reason_of, require
from exporter.staging import NO_ROOM

SOURCE = re.compile(r",? ?/\S*\.rs:\d+:\d+")
"""Where in Lance's own source an error arose: of no use to who reads it."""
OS_ERROR = re.compile(r"os error (\d+)")
SUFFIX = ".lance"
"""Of the folder of each table in a database folder."""


def check_installed() -> Any:
    """Return the lancedb module. Raises MissingDependency without it."""
    require("lancedb")
    import lancedb

    return lancedb


def connect(folder: Path) -> Any:
    """Return LanceDB's connection to a folder. Raises MissingDependency without lancedb."""
    return check_installed().connect(folder)


@contextlib.contextmanager
def lance_errors(path: Path) -> Iterator[None]:
    """Turn what LanceDB raises into one line for people."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        number = OS_ERROR.search(str(error))
        if number is not None and int(number.group(1)) in NO_ROOM:
            raise BadInput(
                f"the disk is full while writing '{path}'; free some space and run again"
            ) from error
        first = reason_of(error)
        reason = SOURCE.sub("", first)[:200]
        raise BadInput(
            f"LanceDB cannot read '{path}' ({reason}); if it is being written or compacted, wait "
            "for that and run again"
        ) from error
