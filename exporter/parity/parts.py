"""Which part of a model a stored tensor belongs to, by the names that graphs and GGUFs give."""

import math
from collections.abc import Iterable

from exporter.manifest import TensorRecord

TABLE, ATTENTION, MLP, HEAD, REST = "embedding table", "attention", "MLP", "head", "norms and rest"
PARTS = (TABLE, ATTENTION, MLP, HEAD, REST)


def bytes_by_part(tensors: Iterable[TensorRecord]) -> dict[str, int]:
    """Return the bytes of each part, scales included; parts without any are left out."""
    found = dict.fromkeys(PARTS, 0)
    for tensor in tensors:
        size = math.prod(tensor.shape) * tensor.bits_per_weight / 8
        found[part_of(tensor.name)] += round(size)
    return {part: size for part, size in found.items() if size}


def part_of(name: str) -> str:
    """Return the part that a tensor's name says."""
    lowered = name.lower()
    if "norm" in lowered:
        return REST
    if "embd" in lowered or "embed" in lowered:
        return TABLE
    if "attn" in lowered or "self_attn" in lowered or "qkv" in lowered:
        return ATTENTION
    if "ffn" in lowered or "mlp" in lowered:
        return MLP
    return HEAD if "dense" in lowered or "head" in lowered else REST
