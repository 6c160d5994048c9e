"""lawvault export onnx, openvino, gguf."""

from dataclasses import replace
from pathlib import Path

import click

from exporter.cli.checkpoint import load_checkpoint
from exporter.cli.common import (
    CommonOptions,
    calibration_option,
    common_options,
    default_output,
    next_command,
    say,
)
from exporter.cli.progress import ProgressLines
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.manifest import Manifest
from exporter.records import canonical_json
from exporter.registry import GGUF_PLANS, GGUF_TYPES, ONNX_FLAVOURS, ONNX_GRAPHS, ONNX_SCHEMES


@click.group()
def export() -> None:
    """Write an artifact from a checkpoint."""


@export.command()
@click.option(
    "--quant",
    default="none",
    show_default=True,
    metavar="|".join(ONNX_SCHEMES),
    help="How weights are stored.",
)
@click.option("--dim", type=int, help="Cut to a Matryoshka dim inside the graph.")
@click.option(
    "--graph",
    default="built",
    show_default=True,
    metavar="|".join(ONNX_GRAPHS),
    help="Built from the weights, or traced by optimum.",
)
@click.option(
    "--flavour",
    default="portable",
    show_default=True,
    metavar="|".join(ONNX_FLAVOURS),
    help="Operators of onnxruntime 1.18, of browsers, or of opset 23.",
)
@calibration_option
@recipe_option
@common_options
def onnx(
    options: CommonOptions,
    quant: str,
    dim: int | None,
    graph: str,
    flavour: str,
    calibration: Path | None,
    recipe: str | None,
) -> None:
    """Write model.onnx with the whole pipeline inside: pooling, Dense, normalisation."""
    from exporter.formats.onnx.export import export_onnx

    chosen = choose_recipe(recipe, options)
    checkpoint = load_checkpoint(options, chosen)
    name = "onnx-" + ("fp32" if quant == "none" else quant)
    name += ("" if flavour == "portable" else f"-{flavour}") + (f"-dim{dim}" if dim else "")
    output = options.output or default_output(checkpoint, name)
    say(f"writing {output}", options)
    fitted = chosen.fitted_on(calibration, measures=quant not in ("none", "fp32"))
    with ProgressLines(options) as progress, fitted as texts:
        manifest = export_onnx(
            checkpoint,
            output,
            quant=quant,
            dim=dim,
            graph=graph,
            flavour=flavour,
            calibration=texts,
            force=options.force,
            stages=progress.stage,
        )
    _print(manifest, output, options, recipe)


@export.command()
@click.option(
    "--quant",
    default="none",
    show_default=True,
    metavar="none|int8",
    help="How weights are stored.",
)
@click.option("--dim", type=int, help="Cut to a Matryoshka dim inside the graph.")
@calibration_option
@recipe_option
@common_options
def openvino(
    options: CommonOptions,
    quant: str,
    dim: int | None,
    calibration: Path | None,
    recipe: str | None,
) -> None:
    """Write OpenVINO IR with the whole pipeline inside: pooling, Dense, normalisation."""
    from exporter.formats.openvino.export import export_openvino

    chosen = choose_recipe(recipe, options)
    checkpoint = load_checkpoint(options, chosen)
    name = "openvino-" + ("fp32" if quant == "none" else quant) + (f"-dim{dim}" if dim else "")
    output = options.output or default_output(checkpoint, name)
    say(f"writing {output}", options)
    fitted = chosen.fitted_on(calibration, measures=quant not in ("none", "fp32"))
    with ProgressLines(options) as progress, fitted as texts:
        manifest = export_openvino(
            checkpoint,
            output,
            quant=quant,
            dim=dim,
            calibration=texts,
            force=options.force,
            stages=progress.stage,
        )
    _print(manifest, output, options, recipe)


@export.command()
@click.option(
    "--type",
    "type_name",
    default="q8_0",
    show_default=True,
    metavar="|".join(GGUF_TYPES),
    help="What matrices are stored as.",
)
@click.option(
    "--plan",
    default="embedding",
    show_default=True,
    metavar="|".join(GGUF_PLANS),
    help="This project's types for each tensor, or llama.cpp's own.",
)
@click.option(
    "--embedding-type",
    metavar="TYPE",
    help="Of the embedding table. Default: by --type, q8_0 for q8_0.",
)
@click.option(
    "--imatrix",
    default="auto",
    show_default=True,
    metavar="auto|on|off|FILE",
    help="Round on calibration text, so that errors compensate each other; auto: below 8 "
    "bits. Or by an importance matrix of llama.cpp.",
)
@calibration_option
@click.option(
    "--prompt-keys", is_flag=True, help="Add prompts and Matryoshka dims as keys under 'lawvault.'."
)
@recipe_option
@common_options
def gguf(
    options: CommonOptions,
    type_name: str,
    plan: str,
    embedding_type: str | None,
    imatrix: str,
    calibration: Path | None,
    prompt_keys: bool,  # noqa: FBT001
    recipe: str | None,
) -> None:
    """Write one GGUF file for llama.cpp and Ollama, Dense modules inside."""
    from exporter.formats.gguf.export import export_gguf
    from exporter.formats.gguf.options import GgufOptions, check_type_and_options

    chosen = choose_recipe(recipe, options)
    checkpoint = load_checkpoint(options, chosen)
    given = GgufOptions(
        plan=plan,
        embedding_type=embedding_type,
        imatrix=imatrix,
        calibration=calibration,
        prompt_keys=prompt_keys,
    )
    parts = ["gguf", type_name, *([] if plan == "embedding" else [plan])]
    output = options.output or default_output(
        checkpoint, "-".join([*parts, *([embedding_type] if embedding_type else [])])
    )
    say(f"writing {output}", options)
    fitted = chosen.fitted_on(
        calibration, measures=check_type_and_options(type_name, given)[2] is not None
    )
    with ProgressLines(options) as progress, fitted as texts:
        manifest = export_gguf(
            checkpoint,
            output,
            type_name=type_name,
            options=replace(given, calibration=texts),
            force=options.force,
            stages=progress.stage,
        )
    _print(manifest, output, options, recipe)


def _print(manifest: Manifest, output: Path, options: CommonOptions, recipe: str | None) -> None:
    if options.as_json:
        click.echo(canonical_json(manifest), nl=False)
        return
    click.echo(f"{output / manifest.entry}  {manifest.size_bytes / 1e6:,.1f} MB")
    for line in manifest.kept:
        click.echo(f"kept: {line}")
    click.echo("next: " + next_command("parity", output, options=options, recipe=recipe))
