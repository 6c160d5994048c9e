"""The command reference, generated from --help.

python -m exporter.cli.reference docs/commands.md
"""

import re
import sys
from pathlib import Path

import click

from exporter.cli.main import lawvault

BEGIN, END = "<!-- commands: generated -->", "<!-- commands: end -->"
WIDTH = 96


def command_reference() -> str:
    """Return every command's help, between the two markers."""
    parts = [BEGIN]
    for path, command in _commands(lawvault, ("lawvault",)):
        # The group's settings (-h beside --help) reach a command only when the group calls it, and
        # click keeps the help option of whoever asked first.
        context = click.Context(
            command, info_name=" ".join(path), terminal_width=WIDTH, **lawvault.context_settings
        )
        context.max_content_width = WIDTH
        parts += ["", "```", command.get_help(context).rstrip(), "```"]
    return "\n".join([*parts, "", END])


def _commands(
    command: click.Command, path: tuple[str, ...]
) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command, info_name=" ".join(path))
    found: list[tuple[tuple[str, ...], click.Command]] = [(path, command)]
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        if inner is not None:
            found += _commands(inner, (*path, name))
    return found


def main(page: Path) -> None:
    """Replace the reference in `page`."""
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    page.write_text(pattern.sub(lambda _: command_reference(), text), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
