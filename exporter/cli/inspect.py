"""lawvault inspect: what is in the checkpoint, and every finding."""

from typing import Any

import click
from rich.console import Console
from rich.table import Table

from exporter.checkpoint.records import Checkpoint
from exporter.cli.common import CommonOptions, common_options, load_checkpoint
from exporter.records import canonical_json

STYLE = {"info": "dim", "warning": "yellow", "error": "red"}


@click.command()
@common_options
def inspect(options: CommonOptions) -> int:
    """Show a checkpoint's architecture, modules, prompts, dims, sizes and findings.

    Needs no torch. Exit code 1 where a finding is an error.
    """
    checkpoint = load_checkpoint(options, quiet_findings=True)
    if options.as_json:
        click.echo(canonical_json(describe(checkpoint)), nl=False)
    else:
        _print(checkpoint)
    return int(any(f.severity == "error" for f in checkpoint.findings))


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what `inspect --json` prints."""
    a = checkpoint.architecture
    return {
        "name": checkpoint.name,
        "path": str(checkpoint.path),
        "model_type": checkpoint.model_type,
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
    console = Console()
    a = checkpoint.architecture
    console.print(f"[bold]{checkpoint.name}[/bold]  {checkpoint.path}", highlight=False)
    rows = [("model type", checkpoint.model_type)]
    if a is not None:
        full = sum(kind == "full_attention" for kind in a.layer_types)
        rows += [
            ("layers", f"{a.num_layers} ({a.num_layers - full} sliding, {full} full attention)"),
            ("width", f"hidden {a.hidden_size}, intermediate {a.intermediate_size}, "
             f"{a.num_heads} query and {a.num_kv_heads} KV heads of {a.head_dim}"),
            ("vocabulary", f"{a.vocab_size:,}"),
            ("window", f"saved {checkpoint.window_saved}, used {checkpoint.window_used} "
             f"({checkpoint.window_choice})"),
        ]  # fmt: skip
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
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows:
        table.add_row(f"[dim]{name}[/dim]", value.replace("[", r"\["))
    console.print(table, highlight=False)
    console.print()
    for f in checkpoint.findings:
        console.print(f"[{STYLE[f.severity]}]{f.severity}[/] [bold]{f.id}[/bold]", highlight=False)
        for label, text in (("evidence", f.evidence), ("effect", f.effect), ("remedy", f.remedy)):
            console.print(f"  {label}: {text}", highlight=False, markup=False)
