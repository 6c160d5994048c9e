"""What lawvault inspect says of an adapter."""

from typing import Any

from rich.console import Console
from rich.table import Table

from exporter.checkpoint.contents import Checkpoint


def describe_adapter(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Return what `inspect --json` prints of it, None for a whole checkpoint."""
    adapter = checkpoint.adapter
    if adapter is None:
        return None
    changes = [
        {**change.model_dump(mode="json"), "relative": adapter.relative[change.kind]}
        for change in adapter.record.changes
    ]
    return {
        **adapter.record.model_dump(mode="json"),
        "folder": str(adapter.folder),
        "base_folder": str(adapter.base),
        "changes": changes,
    }


def print_adapter(console: Console, checkpoint: Checkpoint) -> None:
    """Print the kinds of tensors that it changes, and how far; nothing for a whole checkpoint."""
    adapter = checkpoint.adapter
    if adapter is None:
        return
    title = f"adapter {adapter.folder}: {adapter.record.described}"
    console.print()
    console.print(title, highlight=False, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for column in ("changed", "tensors", "how", "rank", "factor", "of the base"):
        table.add_column(column, justify="left" if column in ("changed", "how") else "right")
    for change in adapter.record.changes:
        table.add_row(
            change.kind,
            str(change.tensors),
            change.how,
            ", ".join(map(str, change.ranks)),
            ", ".join(f"{factor:.4g}" for factor in change.factors),
            f"{adapter.relative[change.kind]:.3%}",
        )
    console.print(table, highlight=False)
