"""One tensor of a base with the change that an adapter makes of it, checked part by part."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.checkpoint.adapters.change import Hadamard, LowRank, Scaled
from exporter.checkpoint.adapters.config import MERGE_WITH_PEFT, AdapterConfig
from exporter.checkpoint.adapters.record import REPLACED
from exporter.checkpoint.safetensors_file import Change, TensorInfo
from exporter.errors import BadInput

PAIR, TABLE_PAIR = ("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")
HADAMARD = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")


@dataclass(frozen=True)
class Changed:
    """A tensor of the base as the adapter has it. `rank`, `factor`: None but for products."""

    name: str
    info: TensorInfo
    how: str
    rank: int | None = None
    factor: float | None = None


def changed_tensor(
    name: str,
    parts: Mapping[str, TensorInfo],
    config: AdapterConfig,
    base: TensorInfo,
    *,
    module: str,
    file: Path,
) -> Changed:
    """Return the tensor `base`, called `name`, as the adapter has it.

    `parts`: the tensors of its change by their names in `file`, "" for one that replaces it;
    `module`: what the adapter calls its module. Raises BadInput where they do not fit each other,
    the config or the base.
    """
    where = f"'{file}': the change of '{name}'"
    stored = parts.get("", base)
    _check_shape(where, "", stored, base.shape)
    stored = replace(stored, name=name)
    found = {part: info for part, info in parts.items() if part}
    if not found:
        return Changed(name, stored, REPLACED)
    if len(stored.shape) != 2:
        raise BadInput(f"{where} is one of a matrix, but that tensor is none; {MERGE_WITH_PEFT}")
    change: Change
    if config.peft_type == "IA3":
        _check_parts(where, found, ("ia3_l",))
        change = Scaled(found["ia3_l"])
        rows, columns = stored.shape
        _check_shape(where, "ia3_l", found["ia3_l"], (rows, 1), (1, columns))
        return Changed(name, replace(stored, change=change), "scaled")
    make = _hadamard if config.peft_type == "LOHA" else _low_rank
    rank, change = make(where, found, config, stored.shape, module)
    return Changed(name, replace(stored, change=change), config.described, rank, change.factor)


def _low_rank(
    where: str,
    parts: Mapping[str, TensorInfo],
    config: AdapterConfig,
    shape: tuple[int, ...],
    module: str,
) -> tuple[int, LowRank]:
    of_table = any(part in parts for part in TABLE_PAIR)
    a, b = TABLE_PAIR if of_table else PAIR
    if of_table and config.dora:
        raise BadInput(f"{where} is DoRA of an embedding, which is not merged; {MERGE_WITH_PEFT}")
    magnitude = "lora_magnitude_vector"
    _check_parts(where, parts, (a, b, magnitude) if config.dora else (a, b))
    rank = _rank(where, parts[a], config, module)
    out, into = reversed(shape) if of_table else shape
    _check_shape(where, a, parts[a], (rank, into))
    _check_shape(where, b, parts[b], (out, rank))
    if config.dora:
        _check_shape(where, magnitude, parts[magnitude], (out,))
    factor = config.factor(module, rank)
    return rank, LowRank(parts[a], parts[b], factor, parts.get(magnitude), of_table)


def _hadamard(
    where: str,
    parts: Mapping[str, TensorInfo],
    config: AdapterConfig,
    shape: tuple[int, ...],
    module: str,
) -> tuple[int, Hadamard]:
    _check_parts(where, parts, HADAMARD)
    rank = _rank(where, parts["hada_w1_b"], config, module)
    for part in HADAMARD:
        wanted = (shape[0], rank) if part.endswith("a") else (rank, shape[1])
        _check_shape(where, part, parts[part], wanted)
    one_a, one_b, other_a, other_b = (parts[part] for part in HADAMARD)
    return rank, Hadamard(one_a, one_b, other_a, other_b, config.factor(module, rank))


def _rank(where: str, info: TensorInfo, config: AdapterConfig, module: str) -> int:
    rank, said = info.shape[0] if len(info.shape) == 2 else 0, config.rank_of(module)
    if rank != said:
        raise BadInput(
            f"{where} has rank {rank}, '{config.path.name}' says {said}; pass the two files of one "
            "adapter"
        )
    return rank


def _check_parts(where: str, parts: Mapping[str, TensorInfo], wanted: Sequence[str]) -> None:
    missing = [part for part in wanted if part not in parts]
    if missing:
        raise BadInput(f"{where} lacks {' and '.join(missing)}; it is incomplete, copy it again")
    extra = sorted(set(parts) - set(wanted))
    if extra:
        raise BadInput(
            f"{where} has {' and '.join(extra)} too, which its config does not speak of; "
            "pass the two files of one adapter"
        )


def _check_shape(where: str, part: str, info: TensorInfo, *shapes: tuple[int, ...]) -> None:
    if info.shape not in shapes:
        said = " or ".join(str(list(shape)) for shape in shapes)
        raise BadInput(
            f"{where}: {part or 'the tensor'} has shape {list(info.shape)}, the base asks for "
            f"{said}; pass the base that it was trained on with --base"
        )


def kinds(changes: Sequence[Changed]) -> dict[str, list[Changed]]:
    """Return the changes by kind: the same tensor of all layers, without the number."""
    found: dict[str, list[Changed]] = {}
    for change in changes:
        kind = re.sub(r"^layers\.\d+\.", "", change.name).removesuffix(".weight")
        found.setdefault(kind, []).append(change)
    return found
