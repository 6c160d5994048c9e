"""The console on stdout: tables and styles, in which nothing that anyone named is markup."""

import errno
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.cli.terminal import visible

UNBROKEN = 10_000


class VisibleConsole(Console):
    """A console that reads no markup in strings, and shows what a terminal would obey."""

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(visible(text), **settings)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "nobody reads the output")  # click ends the command


def open_console(*, stderr: bool = False) -> Console:
    """Return the console on stdout. What goes into a file or another program keeps its lines."""
    console = VisibleConsole(stderr=stderr, markup=False)
    if not console.is_terminal:
        console.width = UNBROKEN
    return console


def styled(text: str, style: str) -> Text:
    """Return text in a style, for a line or a cell."""
    return Text(visible(text), style=style)


def print_rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Print names, dimmed, each beside its value."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows:
        table.add_row(styled(name, "dim"), value)
    console.print(table, highlight=False)
