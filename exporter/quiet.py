"""Keep what libraries in C++ write to stderr from the terminal, where they know no level."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def stderr_dropped() -> Iterator[None]:
    """Drop what is written to the descriptor itself."""
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
