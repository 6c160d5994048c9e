"""What the bytes of an artifact are made of."""

from collections.abc import Mapping

import numpy as np

from exporter.manifest import Manifest, TensorRecord
from exporter.parity.results import PartSize

PARTS: Mapping[str, tuple[str, ...]] = {
    "norms": ("norm",),
    "embedding table": ("embed", "token_embd"),
    "attention": ("attn", "attention"),
    "MLP": ("mlp", "ffn", "intermediate", "output.dense"),
    "head": ("dense",),
}
"""Fragments of tensor names, of the built graph, of GGUF and of traced graphs. The first part that
fits: `q_norm` lies within `self_attn`, and a fold of all Dense modules is a `dense`."""
ORDER = ("embedding table", "attention", "MLP", "head", "norms")
STORED_BYTES: Mapping[str, int] = {
    "float32": 4,
    "float16": 2,
    "int8": 1,
    "uint8": 1,
    "int32": 4,
    "int64": 8,
}
"""Of one element as it lies in an ONNX file, where scales and codes are tensors of their own."""


def part_sizes(manifest: Manifest) -> tuple[PartSize, ...]:
    """Return the bytes of each part, in a fixed order, parts without bytes left out.

    What the files hold beside tensors is `graph or vocabulary`. The sum is the artifact's size,
    unless tensors share bytes, as tied ones do: then the rest is 0.
    """
    sizes: dict[str, int] = {}
    for tensor in manifest.tensors:
        part = _part(tensor.name)
        sizes[part] = sizes.get(part, 0) + _stored(tensor)
    rest = manifest.size_bytes - sum(sizes.values())
    sizes["graph or vocabulary"] = max(0, rest)
    names = (*ORDER, "other tensors", "graph or vocabulary")
    return tuple(
        PartSize.model_validate({"part": name, "size_bytes": sizes[name]})
        for name in names
        if sizes.get(name)
    )


def _part(name: str) -> str:
    lower = name.lower()
    return next(
        (part for part, marks in PARTS.items() if any(m in lower for m in marks)), "other tensors"
    )


def _stored(tensor: TensorRecord) -> int:
    elements = int(np.prod(tensor.shape))
    if tensor.dtype in STORED_BYTES:
        return elements * STORED_BYTES[tensor.dtype]
    # GGUF's block types hold their scales: bits per weight say it all.
    return round(elements * tensor.bits_per_weight / 8)
