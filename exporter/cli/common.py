"""What every command shares: its options."""

import functools
import math
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from exporter.checkpoint.contents import Checkpoint, Prompts, WindowChoice
from exporter.checkpoint.prompts import as_option, check_templates
from exporter.cli.terminal import echo
from exporter.errors import BadInput, unknown_name
from exporter.parsing import parse_json, parse_toml
from exporter.report.words import LANGUAGES, terminal_language
from exporter.runtimes.server import TIMEOUT_S

Command = TypeVar("Command", bound=Callable[..., Any])

CHECKPOINT_VARIABLE = "LAWVAULT_CHECKPOINT"


@dataclass(frozen=True)
class CommonOptions:
    """The options that all commands take, as given. `prompts` is None where none were given."""

    checkpoint: str | None
    base: str | None
    window: WindowChoice | None
    prompts: Prompts | None
    output: Path | None
    force: bool
    as_json: bool
    quiet: bool
    debug: bool


class CorpusFolder(click.Path):
    """A folder in BEIR's layout, or the id of such a data set on the hub, which is fetched."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from exporter.corpus.hub import locate_corpus

        return locate_corpus(Path(str(super().convert(value, param, ctx))))


CORPUS = CorpusFolder(path_type=Path)
FOLDER_HELP = "Folder to write to. Default: below artifacts/."
FORCE_HELP = "Replace an output folder that is not empty."


def common_options(
    *, output: str | None = FOLDER_HELP, force: str | None = FORCE_HELP
) -> Callable[[Command], Command]:
    """Add the common options to a click command, which gets them as `options: CommonOptions`.

    `output`, `force`: what --output and --force say of themselves; None leaves the option out.
    """

    def decorated(command: Command) -> Command:
        @functools.wraps(command)
        def collected(**values: Any) -> Any:
            left_out = {"output": None, "force": False}
            common = {
                name: values.pop(name, left_out.get(name))
                for name in CommonOptions.__dataclass_fields__
            }
            return command(options=CommonOptions(**common), **values)

        wrapped: Any = collected
        for decorator in reversed(_common(output, force)):
            wrapped = decorator(wrapped)
        return wrapped  # type: ignore[no-any-return]

    return decorated


def _common(output: str | None, force: str | None) -> list[Callable[[Any], Any]]:
    decorators = [
        click.option(
            "--checkpoint",
            metavar="PATH|HUB_ID",
            help="Folder saved by sentence-transformers, or ORG/NAME on the hub; a LoRA or another "
            "adapter is merged into its base. Default: $LAWVAULT_CHECKPOINT, the recipe's, or the "
            "bundled miniature.",
        ),
        click.option(
            "--base",
            metavar="PATH|HUB_ID",
            help="Base of a --checkpoint that is an adapter. Default: where adapter_config.json "
            "says, or beside the adapter.",
        ),
        click.option(
            "--window",
            type=click.Choice(["as-saved", "repaired"]),
            help="How to use a sliding window that saving has halved. Default: the "
            "recipe's, as-saved.",
        ),
        click.option(
            "--prompts",
            metavar="FILE|query=...,document=...",
            callback=_prompts,
            help="Templates with {text} and {title}, as TOML, JSON or inline.",
        ),
    ]
    if output is not None:
        decorators.append(click.option("--output", type=click.Path(path_type=Path), help=output))
    if force is not None:
        decorators.append(click.option("--force", is_flag=True, help=force))
    return [
        *decorators,
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        click.option("--quiet", is_flag=True, help="No progress on stderr."),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    ]


def pool_option(command: Command) -> Command:
    """Add --pool, given to the command as `pool: int | None`."""
    return click.option(
        "--pool",
        type=click.IntRange(min=0),
        metavar="K",
        help="Judge a pool: the first K documents of each question by a fast encoder and by BM25, "
        "and some at random. 0: the whole corpus. Default: the recipe's, else the whole unless "
        "that takes over ten minutes here.",
    )(command)


def calibration_option(command: Command) -> Command:
    """Add --calibration, given to the command as `calibration: Path | None`."""
    return click.option(
        "--calibration",
        metavar="FILE|FOLDER",
        type=click.Path(path_type=Path),
        help="Texts to fit on: JSON lines with text, title and role, one text a line, or a folder "
        "in BEIR's layout. Default: 605 bundled ones.",
    )(command)


def vocabulary_option(command: Command) -> Command:
    """Add --vocabulary, given to the command as `vocabulary: Path | None`."""
    return click.option(
        "--vocabulary",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Keep only the pieces of a vocabulary that 'lawvault vocabulary' made.",
    )(command)


def node_modules_option(command: Command) -> Command:
    """Add --node-modules, given to the command as `node_modules: Path | None`."""
    return click.option(
        "--node-modules",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Where npm has installed @huggingface/transformers. Default: $LAWVAULT_NODE_MODULES, "
        "or node_modules of the working folder or one above.",
    )(command)


def server_options(command: Command) -> Command:
    """Add --url, --api and --timeout, given to the command as `url: str | None`, `api: Api` and
    `timeout_s: float`."""
    for option in reversed(
        (
            click.option("--url", help="A server that runs the model, as http://localhost:11434."),
            click.option(
                "--api",
                type=click.Choice(["openai", "ollama"]),
                default="openai",
                show_default=True,
                help="/v1/embeddings, or Ollama's /api/embed.",
            ),
            click.option(
                "--timeout",
                "timeout_s",
                type=click.FloatRange(min=0.01),
                default=TIMEOUT_S,
                show_default=True,
                callback=_seconds,
                help="Seconds to wait for an answer.",
            ),
        )
    ):
        command = option(command)
    return command


def _seconds(_: click.Context, __: click.Parameter, value: float) -> float:
    if math.isnan(value):  # in no range, and below none
        raise BadInput("--timeout nan is no number of seconds")
    return value


def language_option(command: Command) -> Command:
    """Add --lang, given to the command as `language: Language`."""
    return click.option(
        "--lang",
        "language",
        type=click.Choice(LANGUAGES),
        default=terminal_language,
        help="Language of pages and of the advice printed. Default: the terminal's.",
    )(command)


def say(line: str, options: CommonOptions) -> None:
    """Print a line on stderr unless --quiet."""
    if not options.quiet:
        echo(line, err=True)


def next_command(*parts: object, options: CommonOptions, recipe: str | None = None) -> str:
    """Return `lawvault PARTS`, quoted for a shell, with the options given now that decide which
    checkpoint is meant and how it is read."""
    words = ["lawvault", *map(str, parts)]
    for name, value in (
        ("--checkpoint", options.checkpoint),
        ("--base", options.base),
        ("--window", options.window),
        ("--recipe", recipe),
    ):
        if value is not None:
            words += [name, value]
    prompts = "" if options.prompts is None else f" --prompts {as_option(options.prompts)}"
    return shlex.join(words) + prompts


def default_output(checkpoint: Checkpoint, *names: str) -> Path:
    """Return artifacts/<model name>/... below the working folder."""
    return Path("artifacts", checkpoint.name, *names)


def _prompts(_: click.Context, __: click.Parameter, value: str | None) -> Prompts | None:
    return None if value is None else parse_prompts(value)


def parse_prompts(value: str) -> Prompts:
    """Return the prompts in a TOML or JSON file, or written out as query=...,document=...

    A comma inside a template is kept: only `,query=` and `,document=` separate.
    """
    parts = re.split(r"(?:^|,)(query|document)=", value)
    if len(parts) > 1 and parts[0] == "":
        names, values = parts[1::2], parts[2::2]
        if sorted(names) != ["document", "query"]:
            raise BadInput(
                f"--prompts '{value}' names {' and '.join(names)}; give query= and document= once "
                "each"
            )
        return _checked(dict(zip(names, values, strict=True)), "--prompts")
    path = Path(value).expanduser()
    if not path.is_file():
        raise BadInput(
            f"--prompts '{value}' is neither a file nor of the form query=...,document=..."
        )
    parse = parse_json if path.suffix == ".json" else parse_toml
    data: Any = parse(path.read_bytes(), f"'{path}'", remedy="write it as --help says")
    known = tuple(Prompts.model_fields)
    if not isinstance(data, dict):
        raise BadInput(f'\'{path}\' holds no table; write query = "..." and document = "..."')
    for name in data:
        if name not in known:
            raise unknown_name(f"prompt in '{path}'", name, known)
    return _checked(data, f"'{path}'")


def _checked(data: Any, where: str) -> Prompts:
    try:
        prompts = Prompts.model_validate(data)
        check_templates(prompts)
        return prompts
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        said = {
            "missing": "is missing; give query and document",
            "string_type": "is not a string; quote it",
        }.get(first["type"], first["msg"].removeprefix("Value error, "))
        raise BadInput(f"{where}: {first['loc'][0]} {said}") from None
