"""Which tensors a checkpoint has, checked against what its config says it must have."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from exporter.checkpoint.json_file import read_object
from exporter.checkpoint.safetensors_file import TensorInfo, read_header
from exporter.errors import BadInput

CHUNK_BYTES = 1 << 24
BUFFERS = ("position_ids", "token_type_ids")
"""Whole numbers that transformers' encoders saved with their weights, and make again at load."""
PREFIXES = ("model.", "language_model.")
"""What stands before all names where the backbone was saved with what is around it: a causal
wrapper, or a model of several kinds of input."""
DENSE_INSIDE = "lawvault_dense_inside"
"""Key in the config.json of a package whose graphs hold the Dense modules, and no weights."""
# (bits of one item, mask of the exponent): all ones there is Inf or NaN.
EXPONENT = {
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
    "F32": (np.uint32, 0x7F800000),
    "F64": (np.uint64, 0x7FF0000000000000),
}


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files of one module folder: one, or the shards of an index.

    Raises BadInput where there are none, and says so where only pickled weights are there.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return (single,)
    if index.is_file():
        names = read_object(index).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise BadInput(f"'{index}' has no weight_map; copy the checkpoint again")
        shards = sorted({str(v) for v in names.values()})
        for shard in shards:
            if "/" in shard or "\\" in shard or not (folder / shard).is_file():
                raise BadInput(f"'{index}' names the shard '{shard}', which is not in '{folder}'")
        return tuple(folder / shard for shard in shards)
    config = folder / "config.json"
    if config.is_file() and read_object(config).get(DENSE_INSIDE) is True:
        raise BadInput(
            f"'{folder}' is a package for sentence-transformers' ONNX backend: its graphs hold the "
            "Dense modules and there are no weights; pass the checkpoint it was made from"
        )
    pickled = sorted(p.name for p in folder.glob("*.bin")) + sorted(
        p.name for p in folder.glob("*.pt")
    )
    if pickled:
        raise BadInput(
            f"'{folder}' has pickled weights only ({pickled[0]}), which can run code when loaded; "
            "re-save them as safetensors (save_pretrained(..., safe_serialization=True))"
        )
    raise BadInput(f"'{single}' is missing; copy the checkpoint again")


def read_backbone(folder: Path, *, unused: Callable[[str], bool] | None) -> dict[str, TensorInfo]:
    """Return the tensors of the backbone, without those that `unused` names and without the prefix
    of a model around it. None: no family says which; transformers' own buffers."""

    def left_out(name: str) -> bool:
        return name.rpartition(".")[2] in BUFFERS if unused is None else unused(name)

    tensors: dict[str, TensorInfo] = {}
    for file in weight_files(folder):
        for name, info in read_header(file, left_out=left_out).items():
            if name in tensors:
                raise BadInput(f"tensor '{name}' is in two shards of '{folder}'; save it again")
            tensors[name] = info
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            bare = {name.removeprefix(prefix): info for name, info in tensors.items()}
            tensors = {name: replace(info, name=name) for name, info in bare.items()}
    return tensors


def check_shapes(
    tensors: Mapping[str, TensorInfo], expected: Mapping[str, tuple[int, ...]], *, folder: Path
) -> None:
    """Raise BadInput for the first tensor that is missing, of the wrong shape, or extra."""
    for name, shape in expected.items():
        if name not in tensors:
            raise BadInput(
                f"tensor '{name}' is missing from the weights in '{folder}'; "
                "pass weights and config.json of one model"
            )
        if tensors[name].shape != shape:
            raise BadInput(
                f"tensor '{name}' of '{folder}' has shape {list(tensors[name].shape)}, its config "
                f"says {list(shape)}; pass weights and config.json of one model"
            )
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise BadInput(
            f"tensor '{extra[0]}' in '{folder}' belongs to no known part of the model"
            + (f" (and {len(extra) - 1} more)" if len(extra) > 1 else "")
            + "; exporting would drop it, remove it or pass the model it belongs to"
        )


def check_finite(info: TensorInfo) -> None:
    """Raise BadInput where a stored value is NaN or Inf. Reads the raw bits, in blocks."""
    kind, mask = EXPONENT[info.dtype]
    item = np.dtype(kind).itemsize
    bad = 0
    for start in range(0, info.size_bytes, CHUNK_BYTES):
        count = min(CHUNK_BYTES, info.size_bytes - start) // item
        bits = np.fromfile(info.file, kind, count, offset=info.offset + start)
        bad += int(np.count_nonzero((bits & kind(mask)) == kind(mask)))
    if bad:
        raise BadInput(
            f"tensor '{info.name}' holds NaN or Inf ({bad:,} of {info.size_bytes // item:,}) in "
            f"'{info.file}'; re-save the checkpoint or pass a sound one"
        )
