"""What an adapter is, once read: records only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.records import Record

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
REPLACED = "replaced"
"""How a tensor is changed that the adapter holds whole."""


class ChangedKind(Record):
    """What an adapter does to the tensors of one kind, such as `self_attn.q_proj` of all layers.

    `ranks` and `factors` (alpha / rank, or alpha / sqrt(rank)): those that occur, ascending; empty
    where a tensor is scaled or replaced.
    """

    kind: str
    tensors: int
    how: str
    ranks: tuple[int, ...] = ()
    factors: tuple[float, ...] = ()


class AdapterRecord(Record):
    """What was merged onto what. `base`: the hub id or folder name of the base that was used,
    `base_named` what adapter_config.json calls it; `revision`: of a base fetched from the hub."""

    type: str
    base: str
    base_named: str | None
    revision: str | None
    changes: tuple[ChangedKind, ...]

    @property
    def described(self) -> str:
        """Return what was merged, in one phrase."""
        count = sum(change.tensors for change in self.changes)
        ranks = sorted({rank for change in self.changes for rank in change.ranks})
        rank = f", rank {', '.join(map(str, ranks))}" if ranks else ""
        revision = f" in revision {self.revision}" if self.revision else ""
        return f"{self.type}{rank}, on {count} tensors of {self.base}{revision}"


@dataclass(frozen=True)
class Adapter:
    """An adapter of a checkpoint that was read, and where both lie.

    `relative`: of each kind, the Frobenius norm of what changes over that of the base's tensors.
    `files`: the deciding files that are not below `Checkpoint.path`, by the names under which they
    are recorded: `base/...` or `adapter/...`.
    """

    folder: Path
    base: Path
    record: AdapterRecord
    relative: Mapping[str, float]
    files: Mapping[str, Path]


def is_adapter(folder: Path) -> bool:
    """Return whether `folder` holds an adapter, as PEFT and sentence-transformers write it."""
    return (folder / CONFIG_NAME).is_file()
