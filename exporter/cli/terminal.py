"""Lines for the terminal. Names and texts come from anyone: nothing in them is a command to it."""

import re

import click

COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys instead of showing: escapes, and marks that turn the writing round."""


def visible(text: str) -> str:
    """Return `text` with what a terminal would obey spelled out, as `\\x1b`."""
    return COMMANDS.sub(lambda found: ascii(found.group())[1:-1], text)


def echo(line: str, *, err: bool = False) -> None:
    """Print a line on stdout or stderr."""
    click.echo(visible(line), err=err)
