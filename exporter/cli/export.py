"""lawvault export: a command for each format, made from its record."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from exporter.cli.checkpoint import load_checkpoint
from exporter.cli.common import (
    CommonOptions,
    calibration_option,
    common_options,
    default_output,
    next_command,
    say,
    vocabulary_option,
)
from exporter.cli.progress import ProgressLines
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.cli.terminal import echo
from exporter.format import Format, Option, all_formats, format_of
from exporter.manifest import Manifest
from exporter.records import canonical_json
from exporter.registry import REFUSED_FORMATS


class _Formats(click.Group):
    """A command a format; what is refused says why."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in REFUSED_FORMATS:
            format_of(args[0])
        return super().resolve_command(ctx, args)


@click.group(cls=_Formats)
def export() -> None:
    """Write an artifact from a checkpoint."""


def _command(found: Format) -> None:
    def run(
        options: CommonOptions,
        scheme: str | None,
        calibration: Path | None,
        recipe: str | None,
        vocabulary: Path | None,
        **own: Any,
    ) -> None:
        from exporter import api

        scheme = found.asked_for(scheme, own)
        given = {**own, "calibration": calibration}
        found.require(scheme, given)
        chosen = choose_recipe(recipe, options)
        checkpoint = load_checkpoint(options, chosen)
        name = found.artifact_name(scheme, own, cut=vocabulary is not None)
        output = options.output or default_output(checkpoint, name)
        say(f"writing {output}", options)
        measures = found.fitted(scheme, given)
        with (
            ProgressLines(options) as progress,
            chosen.fitted_on(calibration, measures=measures) as texts,
        ):
            manifest = api.export(
                checkpoint,
                output,
                format=found.name,
                scheme=scheme,
                calibration=texts,
                vocabulary=vocabulary,
                force=options.force,
                stages=progress.stage,
                **own,
            )
        _print(manifest, output, options, recipe)

    command: Callable[..., None] = run
    for decorate in (common_options(), recipe_option, vocabulary_option, calibration_option):
        command = decorate(command)
    for option in reversed(found.options):
        command = _own_option(option)(command)
    command = click.option(
        found.scheme_option,
        "scheme",
        default=None,
        show_default=found.default_scheme,
        metavar="|".join(found.schemes),
        help="How weights are stored.",
    )(command)
    export.command(found.name, help=found.summary)(command)


def _own_option(option: Option) -> Callable[[Callable[..., None]], Callable[..., None]]:
    flag = "--" + option.name.replace("_", "-")
    if option.value_type is bool:
        return click.option(flag, option.name, is_flag=True, help=option.help)
    return click.option(
        flag,
        option.name,
        type=option.value_type,
        default=option.default,
        show_default=option.default is not None,
        metavar=option.metavar or "|".join(option.choices) or None,
        help=option.help,
    )


for _found in all_formats():
    _command(_found)


def _print(manifest: Manifest, output: Path, options: CommonOptions, recipe: str | None) -> None:
    if options.as_json:
        click.echo(canonical_json(manifest), nl=False)
        return
    echo(f"{output / manifest.entry}  {manifest.size_bytes / 1e6:,.1f} MB")
    cut = manifest.vocabulary
    if cut is not None:
        echo(f"vocabulary: {cut.pieces:,} of {cut.of:,} pieces")
    for line in manifest.kept:
        echo(f"kept: {line}")
    echo("next: " + next_command("parity", output, options=options, recipe=recipe))
