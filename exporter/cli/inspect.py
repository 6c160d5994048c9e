"""lawvault inspect: what is in the checkpoint, and every finding."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from exporter.architectures.family import family_of
from exporter.checkpoint.adapters.record import is_adapter
from exporter.checkpoint.contents import Checkpoint
from exporter.cli.checkpoint import load_checkpoint
from exporter.cli.common import CommonOptions, calibration_option, common_options, say
from exporter.cli.console import open_console, print_rows, styled
from exporter.cli.findings import print_findings
from exporter.cli.inspect_adapter import describe_adapter, print_adapter
from exporter.cli.inspect_artifact import inspect_artifact
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.corpus.calibration import CalibrationText, calibration_inputs, read_calibration
from exporter.errors import BadInput
from exporter.manifest import RangeRecord
from exporter.records import canonical_json


@click.command()
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@click.option(
    "--ranges",
    is_flag=True,
    help="Run the model on calibration texts and show each layer's range in fp16, as "
    "saved and as --quant fp16 rescales it. Needs torch.",
)
@calibration_option
@recipe_option
@common_options(output=None, force=None)
def inspect(
    options: CommonOptions,
    *,
    artifact: Path | None,
    ranges: bool,
    calibration: Path | None,
    recipe: str | None,
) -> int:
    """Show a checkpoint's architecture, modules, prompts, dims, sizes and findings.

    With ARTIFACT, the folder of an artifact or of a vocabulary, what that is, and whether its
    files are still those that were written; of an adapter, what --checkpoint shows of it. Needs no
    torch without --ranges. Exit code 1 where a finding is an error.
    """
    if artifact is not None and is_adapter(artifact) and options.checkpoint is None:
        options, artifact = replace(options, checkpoint=str(artifact)), None
    if artifact is not None:
        if ranges or options.checkpoint is not None:
            raise BadInput(
                "--ranges and --checkpoint are of a checkpoint; leave them or ARTIFACT out"
            )
        inspect_artifact(artifact, as_json=options.as_json)
        return 0
    if calibration is not None and not ranges:
        raise BadInput("--calibration is read for --ranges only; add --ranges or leave it out")
    texts = read_calibration(calibration) if ranges else []
    checkpoint = load_checkpoint(options, choose_recipe(recipe, options), quiet_findings=True)
    measured = _measure(checkpoint, texts, options) if ranges else None
    if options.as_json:
        data = describe(checkpoint)
        if measured is not None:
            data["ranges"] = {
                name: [r.model_dump(mode="json") for r in rows] for name, rows in measured.items()
            }
        click.echo(canonical_json(data), nl=False)
    else:
        _print(checkpoint)
        for name, rows in (measured or {}).items():
            _print_ranges(name, rows)
    return int(any(f.severity == "error" for f in checkpoint.findings))


def _measure(
    checkpoint: Checkpoint, texts: list[CalibrationText], options: CommonOptions
) -> dict[str, tuple[RangeRecord, ...]]:
    from exporter.quantization.ranges import compare_fp16

    if checkpoint.architecture is None:
        raise BadInput(f"--ranges knows no model of type '{checkpoint.model_type}'; leave it out")
    say(f"running the model on {len(texts)} texts", options)
    return compare_fp16(checkpoint, calibration_inputs(texts, checkpoint.prompts))


def _print_ranges(name: str, rows: tuple[RangeRecord, ...]) -> None:
    table = Table(title=f"fp16, {name}", title_justify="left", box=None, pad_edge=False)
    for column in (
        "layer",
        "largest",
        "at",
        "headroom",
        "longest row",
        "row headroom",
        "underflow",
    ):
        table.add_column(column, justify="left" if column == "at" else "right")
    for r in rows:
        over = "red" if min(r.headroom, r.row_headroom) < 1 else ""
        table.add_row(
            str(r.layer),
            f"{r.largest:,.4g}",
            r.largest_site,
            f"{r.headroom:,.4g} x",
            f"{r.longest_row:,.4g}",
            f"{r.row_headroom:,.4g} x",
            f"{r.underflow:.3%}",
            style=over,
        )
    console = open_console()
    console.print()
    console.print(table, highlight=False)


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what `inspect --json` prints."""
    a = checkpoint.architecture
    return {
        "name": checkpoint.name,
        "path": str(checkpoint.path),
        "model_type": checkpoint.model_type,
        "adapter": describe_adapter(checkpoint),
        "architecture": a.model_dump(mode="json") if a else None,
        "modules": [m.model_dump(mode="json") for m in checkpoint.modules],
        "pooling": checkpoint.pooling,
        "dense": [d.model_dump(mode="json") for d in checkpoint.dense],
        "normalize": checkpoint.normalize,
        "prompts": checkpoint.prompts.model_dump(mode="json"),
        "saved_prompts": dict(checkpoint.saved_prompts),
        "dim": checkpoint.dim,
        "matryoshka_dims": list(checkpoint.matryoshka_dims),
        "max_tokens": checkpoint.max_tokens,
        "window": {
            "choice": checkpoint.window_choice,
            "saved": checkpoint.window_saved,
            "used": checkpoint.window_used,
        },
        "parameters": checkpoint.parameters,
        "size_bytes": sum(t.size_bytes for t in checkpoint.tensors.values()),
        "dtypes": _dtypes(checkpoint),
        "files": [
            {"path": path, "size_bytes": size, "sha256": digest}
            for path, size, digest in checkpoint.file_hashes()
        ],
        "findings": [f.model_dump(mode="json") for f in checkpoint.findings],
    }


def _dtypes(checkpoint: Checkpoint) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for tensor in checkpoint.tensors.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size_bytes
    return sizes


def _print(checkpoint: Checkpoint) -> None:
    console = open_console()
    a = checkpoint.architecture
    console.print(styled(checkpoint.name, "bold"), f" {checkpoint.path}", highlight=False)
    rows = [("model type", checkpoint.model_type)]
    if a is not None:
        rows += [*family_of(a).described(a), ("vocabulary", f"{a.vocab_size:,}")]
    if checkpoint.window_saved is not None:
        choice = f"({checkpoint.window_choice})"
        used = f"saved {checkpoint.window_saved}, used {checkpoint.window_used} {choice}"
        rows.append(("window", used))
    sizes = _dtypes(checkpoint)
    stored = ", ".join(f"{kind} {size / 1e6:,.1f} MB" for kind, size in sizes.items())
    rows += [
        ("modules", " -> ".join(m.kind for m in checkpoint.modules)),
        ("pooling", checkpoint.pooling),
        ("dims", ", ".join(map(str, checkpoint.matryoshka_dims))),
        ("longest text", f"{checkpoint.max_tokens:,} tokens"),
        ("query prompt", checkpoint.prompts.query),
        ("document prompt", checkpoint.prompts.document),
        ("parameters", f"{checkpoint.parameters:,} ({stored})"),
    ]
    print_rows(console, rows)
    print_adapter(console, checkpoint)
    console.print()
    print_findings(console, checkpoint.findings)
