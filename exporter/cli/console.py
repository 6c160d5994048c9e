"""The console on stdout."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

UNBROKEN = 10_000


def open_console() -> "Console":
    """Return the console on stdout. What goes into a file or another program keeps its lines."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = UNBROKEN
    return console
