"""What every command shares: its options, the checkpoint they name, findings, progress."""

import functools
import json
import os
import re
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.records import Checkpoint, Prompts, WindowChoice
from exporter.errors import BadInput, unknown_name
from exporter.recipe import Recipe, read_recipe

Command = TypeVar("Command", bound=Callable[..., Any])

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_RECIPE = REPOSITORY / "recipes" / "lawvault.toml"
MINIATURE = REPOSITORY / "parity_tests" / "fixtures" / "lawvault-mini"
CHECKPOINT_VARIABLE = "LAWVAULT_CHECKPOINT"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HUB_FILES = ("*.json", "*.safetensors", "tokenizer.model", "vocab.txt", "README.md")
SECONDS_BETWEEN_LINES = 15.0


@dataclass(frozen=True)
class CommonOptions:
    """The options that all commands take, as given. `prompts` is None where none were given."""

    checkpoint: str | None
    window: WindowChoice
    prompts: Prompts | None
    output: Path | None
    force: bool
    as_json: bool
    quiet: bool
    debug: bool


def common_options(command: Command) -> Command:
    """Add the common options to a click command, which gets them as `options: CommonOptions`."""

    @functools.wraps(command)
    def collected(**values: Any) -> Any:
        common = {name: values.pop(name) for name in CommonOptions.__dataclass_fields__}
        return command(options=CommonOptions(**common), **values)

    decorators = (
        click.option("--checkpoint", metavar="PATH|HUB_ID",
                     help="Folder saved by sentence-transformers, or ORG/NAME on the hub. Default: "
                     "$LAWVAULT_CHECKPOINT, the recipe's, or the bundled miniature."),
        click.option("--window", type=click.Choice(["as-saved", "repaired"]), default="as-saved",
                     show_default=True,
                     help="How to use a sliding window that saving has halved."),
        click.option("--prompts", metavar="FILE|query=...,document=...", callback=_prompts,
                     help="Templates with {text} and {title}, as TOML, JSON or inline."),
        click.option("--output", type=click.Path(path_type=Path),
                     help="Folder to write to. Default: below artifacts/."),
        click.option("--force", is_flag=True, help="Replace an output folder that is not empty."),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        click.option("--quiet", is_flag=True, help="No progress on stderr."),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    )  # fmt: skip
    wrapped: Any = collected
    for decorator in reversed(decorators):
        wrapped = decorator(wrapped)
    return wrapped  # type: ignore[no-any-return]


def recipe_option(command: Command) -> Command:
    """Add --recipe, given to the command as `recipe_path: Path | None`."""
    return click.option(
        "--recipe", "recipe_path", metavar="FILE", type=click.Path(path_type=Path),
        help="Recipe with the limits. Default: recipes/lawvault.toml.",
    )(command)  # fmt: skip


def load_recipe(path: Path | None) -> Recipe:
    """Read the recipe at `path`, or the bundled one."""
    if path is None and not DEFAULT_RECIPE.is_file():
        raise BadInput("the bundled recipe is not installed with the package; pass --recipe FILE")
    return read_recipe(path or DEFAULT_RECIPE)


def load_checkpoint(
    options: CommonOptions, *, recipe: Recipe | None = None, prompts: Prompts | None = None
) -> Checkpoint:
    """Read the checkpoint that the options name, else the defaults, and say its warnings.

    `recipe` and `prompts` give way to the options. Raises BadInput for whatever is wrong with it.
    """
    named = options.checkpoint
    if named is None and os.environ.get(CHECKPOINT_VARIABLE):
        named = os.environ[CHECKPOINT_VARIABLE]
        say(f"checkpoint: {named} (${CHECKPOINT_VARIABLE})", options)
    if named is None and recipe is not None and recipe.checkpoint is not None:
        named = recipe.checkpoint
        say(f"checkpoint: {named} (the recipe's)", options)
    if named is None:
        if not MINIATURE.is_dir():
            raise BadInput("no checkpoint given; pass --checkpoint FOLDER or HUB_ID")
        named = str(MINIATURE)
        say("checkpoint: none given, using the bundled miniature (pass --checkpoint)", options)
    checkpoint = read_checkpoint(
        locate_checkpoint(named), window=options.window, prompts=options.prompts or prompts
    )
    show_findings(checkpoint)
    return checkpoint


def locate_checkpoint(named: str) -> Path:
    """Return the folder of a path, or of a hub id, fetched where it is not in the hub cache.

    A path that exists is never looked up. Raises BadInput where there is neither.
    """
    path = Path(named).expanduser()
    if path.exists() or HUB_ID.fullmatch(named) is None:
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                named, allow_patterns=list(HUB_FILES), ignore_patterns=["onnx/*", "openvino/*"]
            )
        )
    except Exception as error:  # noqa: BLE001 - hub errors share no base across its versions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(
            f"'{named}' is no folder here, and the hub did not give it as a model ({reason}); "
            "check the name, or pass a local folder"
        ) from None


def show_findings(checkpoint: Checkpoint) -> None:
    """Print each finding above `info` as one line on stderr."""
    for finding in checkpoint.findings:
        if finding.severity != "info":
            click.echo(
                f"{finding.severity}: {finding.id}: {finding.evidence}; {finding.effect} "
                f"({finding.remedy})",
                err=True,
            )


def say(line: str, options: CommonOptions) -> None:
    """Print a line on stderr unless --quiet."""
    if not options.quiet:
        click.echo(line, err=True)


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
        if len(set(names)) < len(names):
            raise BadInput("--prompts names one prompt twice; give query= and document= once each")
        return Prompts(**dict(zip(names, values, strict=True)))
    path = Path(value).expanduser()
    if not path.is_file():
        raise BadInput(
            f"--prompts '{value}' is neither a file nor of the form query=...,document=..."
        )
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError and TOMLDecodeError are
        raise BadInput(f"'{path}' cannot be read as prompts: {error}") from None
    known = tuple(Prompts.model_fields)
    if not isinstance(data, dict):
        raise BadInput(f'\'{path}\' holds no table; write query = "..." and document = "..."')
    for name in data:
        if name not in known:
            raise unknown_name(f"prompt in '{path}'", name, known)
    try:
        return Prompts.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"'{path}': {first['loc'][0]} is not a string; quote it") from None


class ProgressLines:
    """Progress on stderr: bars on a terminal, a line now and then elsewhere, none when quiet."""

    def __init__(self, options: CommonOptions) -> None:
        self._quiet = options.quiet
        self._bars: Any = None
        self._task: Any = None
        self._step, self._total, self._done = "", 0, 0
        self._started = self._said = 0.0

    def __enter__(self) -> "ProgressLines":
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bars = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True),
            )  # fmt: skip
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def start(self, step: str, total: int) -> None:
        """Begin a step of `total` items."""
        self._step, self._total, self._done = step, total, 0
        self._started = self._said = time.monotonic()
        if self._bars is not None:
            self._task = self._bars.add_task(step, total=total)

    def advance(self, done: int) -> None:
        """Count `done` more items."""
        self._done += done
        now = time.monotonic()
        if self._bars is not None:
            self._bars.advance(self._task, done)
        elif not self._quiet and (
            self._done >= self._total or now - self._said > SECONDS_BETWEEN_LINES
        ):
            self._said = now
            click.echo(
                f"{self._step}: {self._done:,} of {self._total:,} ({now - self._started:.0f} s)",
                err=True,
            )
