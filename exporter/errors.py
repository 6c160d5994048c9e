"""The errors a user can meet. Each carries the exit code of the command line.

A message says what is wrong, where, and what to do next, in one line.
"""

import difflib
from collections.abc import Iterable


class LawvaultError(Exception):
    """Base of every error that is the user's to mend; printed as one line."""

    exit_code = 2


class BadInput(LawvaultError):
    """Wrong usage, or an input that cannot be used. Exit code 2."""


class GateClosed(LawvaultError):
    """An artifact did not pass its limits. Exit code 1."""

    exit_code = 1


class MissingDependency(LawvaultError):
    """An optional dependency is not installed. Exit code 3.

    `extra`: the extra that brings it. `install`: how to get what pip does not bring.
    """

    exit_code = 3

    def __init__(self, module: str, *, extra: str = "", install: str = "") -> None:
        self.module, self.extra = module, extra
        how = install or f"pip install 'lawvault-exporter[{extra}]' -c constraints.txt"
        super().__init__(
            f"this step needs '{module}', which is not installed; install it with: {how}"
        )


def unknown_name(kind: str, name: str, known: Iterable[str]) -> BadInput:
    """Return the error for a name that is not in `known`, with the nearest one suggested."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return BadInput(f"unknown {kind} '{name}'{hint} (known: {', '.join(names)})")
