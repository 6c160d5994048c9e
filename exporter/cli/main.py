"""The command `lawvault`: commands are imported only when called, errors become one line."""

import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import click

from exporter import __version__
from exporter.cli.terminal import echo
from exporter.errors import EXTRAS, LawvaultError, MissingDependency, unknown_name
from exporter.staging import NO_ROOM

COMMANDS: Mapping[str, str] = {
    "demo": "exporter.cli.demo:demo",
    "inspect": "exporter.cli.inspect:inspect",
    "vocabulary": "exporter.cli.vocabulary:vocabulary",
    "export": "exporter.cli.export:export",
    "lint": "exporter.cli.lint:lint",
    "parity": "exporter.cli.parity:parity",
    "gate": "exporter.cli.gate:gate",
    "compare": "exporter.cli.compare:compare",
    "evaluate": "exporter.cli.evaluate:evaluate",
    "index": "exporter.cli.index:index",
    "index-size": "exporter.cli.index_size:index_size",
    "doctor": "exporter.cli.doctor:doctor",
    "bench": "exporter.cli.bench:bench",
    "package": "exporter.cli.package:package",
    "guard": "exporter.cli.guard:guard",
    "card": "exporter.cli.card:card",
    "verify": "exporter.cli.verify:verify",
    "publish": "exporter.cli.publish:publish",
    "release": "exporter.cli.release:release",
}

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h: a defect of this tool, not of the input
INTERRUPTED = 130
NO_READER = 141  # as a shell reports a program that a closed pipe has ended


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported when one is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise unknown_name("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lawvault")
def lawvault() -> None:
    """Export a fine-tuned embedding model, prove which export may replace it, package it."""


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a gate closed, 2 bad input, 3 missing extra.

    141 where whatever reads its output has closed it, as `head` does.
    """
    arguments = sys.argv[1:] if args is None else args
    try:
        Path.cwd()
    except FileNotFoundError:
        sys.exit(_say("the working folder was deleted; change to one that exists", 2))
    try:
        outcome = lawvault.main(arguments, prog_name="lawvault", standalone_mode=False)
        code = outcome if isinstance(outcome, int) else 0
    except SystemExit:  # click's own, for a pipe that was closed: exit code 1 is a closed gate
        code = NO_READER
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = _say("interrupted; nothing unfinished was kept", INTERRUPTED)
    except LawvaultError as error:
        code = _fail(str(error), error.exit_code, debug="--debug" in arguments)
    except OSError as error:
        code = _fail(_os_error(error), 2, debug="--debug" in arguments)
    except Exception as error:  # noqa: BLE001 - the last line of defence: one line, not a page
        code = _fail(*_unforeseen(error), debug="--debug" in arguments)
    sys.exit(code)


def _unforeseen(error: Exception) -> tuple[str, int]:
    """Return what to say of an error that nobody turned into words, and the exit code."""
    module = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and module in EXTRAS:
        return str(MissingDependency(module)), MissingDependency.exit_code
    return (
        f"internal error ({type(error).__name__}: {error}); run again with --debug",
        INTERNAL_ERROR,
    )


def _os_error(error: OSError) -> str:
    if error.errno in NO_ROOM:
        return "the disk is full; nothing unfinished was kept, free some space and run again"
    return f"{error.strerror or error}: '{error.filename}'" if error.filename else str(error)


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    return _say(message, code)


def _say(message: str, code: int) -> int:
    echo("error: " + " ".join(message.split()), err=True)
    return code
