"""What every command shares: its options, the checkpoint they name, findings, progress."""

import functools
import json
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class CommonOptions:
    """The options that all commands take, as given. `prompts` is None where none were given."""

    checkpoint: str | None
    window: WindowChoice | None
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
        click.option("--window", type=click.Choice(["as-saved", "repaired"]),
                     help="How to use a sliding window that saving has halved. Default: the "
                     "recipe's, as-saved."),
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


def pool_option(command: Command) -> Command:
    """Add --pool, given to the command as `pool: int | None`."""
    return click.option(
        "--pool", type=click.IntRange(min=0), metavar="K",
        help="Judge a pool: the first K documents of each question by a fast encoder and by BM25, "
        "and some at random. 0: the whole corpus. Default: the recipe's, else the whole unless "
        "that takes over ten minutes here.",
    )(command)  # fmt: skip


def calibration_option(command: Command) -> Command:
    """Add --calibration, given to the command as `calibration: Path | None`."""
    return click.option(
        "--calibration", metavar="FILE|FOLDER", type=click.Path(path_type=Path),
        help="Texts to fit on: JSON lines with text, title and role, one text a line, or a folder "
        "in BEIR's layout. Default: 605 bundled ones.",
    )(command)  # fmt: skip


def node_modules_option(command: Command) -> Command:
    """Add --node-modules, given to the command as `node_modules: Path | None`."""
    return click.option(
        "--node-modules", metavar="FOLDER", type=click.Path(path_type=Path),
        help="Where npm has installed @huggingface/transformers. Default: $LAWVAULT_NODE_MODULES, "
        "or node_modules of the working folder or one above.",
    )(command)  # fmt: skip


def load_recipe(path: Path | None) -> Recipe:
    """Read the recipe at `path`, or the bundled one."""
    if path is None and not DEFAULT_RECIPE.is_file():
        raise BadInput("the bundled recipe is not installed with the package; pass --recipe FILE")
    return read_recipe(path or DEFAULT_RECIPE)


def with_pool(recipe: Recipe, pool: int | None) -> Recipe:
    """Return the recipe with the pool given on the command line, where one is."""
    return recipe if pool is None else recipe.model_copy(update={"pool": pool})


def corpus_folder(recipe: Recipe, *, recipe_path: Path | None, given: Path | None) -> Path:
    """Return the corpus folder: the one given, else the recipe's, relative to its file."""
    if given is not None:
        return given
    return (recipe_path or DEFAULT_RECIPE).parent / recipe.corpus


def load_checkpoint(
    options: CommonOptions,
    *,
    recipe: Recipe | None = None,
    prompts: Prompts | None = None,
    quiet_findings: bool = False,
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
    window = options.window or (recipe.window if recipe is not None else "as-saved")
    checkpoint = read_checkpoint(
        locate_checkpoint(named), window=window, prompts=options.prompts or prompts
    )
    if not quiet_findings:
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
