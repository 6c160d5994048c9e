"""An adapter and its base -> the tensors of both together, and what to know of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.adapters.base import Base, find_base, last_name
from exporter.checkpoint.adapters.changed import Changed, kinds
from exporter.checkpoint.adapters.config import AdapterConfig, read_adapter_config
from exporter.checkpoint.adapters.findings import adapter_findings
from exporter.checkpoint.adapters.record import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    Adapter,
    AdapterRecord,
    ChangedKind,
)
from exporter.checkpoint.adapters.tensors import read_changes
from exporter.checkpoint.contents import Finding, ModuleInfo
from exporter.checkpoint.hub import HUB_ID
from exporter.checkpoint.safetensors_file import TensorInfo, read_row_blocks
from exporter.checkpoint.weights import weight_files
from exporter.errors import BadInput


@dataclass(frozen=True)
class OpenAdapter:
    """The folder of an adapter whose config was read and whose base was found."""

    folder: Path
    config: AdapterConfig
    base: Base

    @property
    def main(self) -> Path:
        """Return where the modules, the tokenizer and the card lie: beside the adapter, where
        sentence-transformers saved it, else with the base."""
        return self.folder if (self.folder / "modules.json").is_file() else self.base.folder


def open_adapter(folder: Path, *, base: str | None) -> OpenAdapter:
    """Read the config of the adapter in `folder`, and find its base, which `base` may name.

    Raises BadInput for an adapter that is not merged here, and without a base.
    """
    config = read_adapter_config(folder)
    return OpenAdapter(folder, config, find_base(folder, config, named=base))


def merge_adapter(
    opened: OpenAdapter, tensors: Mapping[str, TensorInfo], modules: Sequence[ModuleInfo]
) -> tuple[dict[str, TensorInfo], Adapter, list[Finding]]:
    """Return the base's `tensors` as the adapter changes them, what it is, and the findings.

    Nothing is written: the changes are added when a tensor is read. Each is read once here, so
    that one which is not finite is refused by its name.
    """
    changes = read_changes(opened.folder, opened.config, tensors=tensors, modules=modules)
    found = kinds(changes)
    relative = {kind: _relative(of_kind, tensors) for kind, of_kind in found.items()}
    for kind, size in relative.items():
        if not math.isfinite(size):
            raise BadInput(
                f"'{kind}' is not finite once the adapter in '{opened.folder}' is merged; "
                "pass a sound adapter"
            )
    record = AdapterRecord(
        type=opened.config.described,
        base=opened.base.name,
        base_named=_without_path(opened.config.base),
        revision=opened.base.revision,
        changes=tuple(_record(kind, of_kind) for kind, of_kind in found.items()),
    )
    adapter = Adapter(
        folder=opened.folder,
        base=opened.base.folder,
        record=record,
        relative=relative,
        files=_files(opened),
    )
    merged = {**tensors, **{change.name: change.info for change in changes}}
    return merged, adapter, adapter_findings(record, relative, version=opened.config.version)


def _without_path(named: str | None) -> str | None:
    """Return a hub id as it is, and of a path on the machine of the training its last name."""
    if named is None or HUB_ID.fullmatch(named):
        return named
    return last_name(named)


def _record(kind: str, changes: Sequence[Changed]) -> ChangedKind:
    return ChangedKind(
        kind=kind,
        tensors=len(changes),
        how=changes[0].how,
        ranks=tuple(sorted({c.rank for c in changes if c.rank is not None})),
        factors=tuple(sorted({c.factor for c in changes if c.factor is not None})),
    )


def _relative(changes: Sequence[Changed], tensors: Mapping[str, TensorInfo]) -> float:
    """Return the Frobenius norm of what changes over that of the base's tensors, NaN or Inf where
    a sum is not finite; the former alone where the base's are all zero."""
    changed = stored = 0.0
    for change in changes:
        for new, old in zip(_blocks(change.info), _blocks(tensors[change.name]), strict=True):
            changed += float(np.square(new.astype(np.float64) - old).sum())
            stored += float(np.square(old, dtype=np.float64).sum())
    return math.sqrt(changed / (stored or 1.0)) if math.isfinite(changed) else changed


def _blocks(info: TensorInfo) -> Iterator[npt.NDArray[np.float32]]:
    shape = info.shape if len(info.shape) == 2 else (1, math.prod(info.shape))
    return read_row_blocks(replace(info, shape=shape))


def _files(opened: OpenAdapter) -> dict[str, Path]:
    if opened.main == opened.folder:
        base = opened.base.folder
        files = [base / "config.json", *weight_files(base)]
        return {f"base/{file.relative_to(base).as_posix()}": file for file in files}
    return {f"adapter/{name}": opened.folder / name for name in (CONFIG_NAME, WEIGHTS_NAME)}
