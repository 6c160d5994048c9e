"""The console on stdout."""

from collections.abc import Iterable
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


def print_rows(console: "Console", rows: Iterable[tuple[str, str]]) -> None:
    """Print names, dimmed, each beside its value."""
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows:
        table.add_row(f"[dim]{name}[/dim]", value.replace("[", r"\["))
    console.print(table, highlight=False)
