"""Read safetensors files by hand: every size in the header is checked before it is believed.

Format: https://github.com/huggingface/safetensors#format. The library is not used here because
it maps bf16 to no numpy type and reports damage without naming the tensor.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput
from exporter.parsing import parse_json


class Change(Protocol):
    """What an adapter makes of a matrix, from what is stored, some rows at a time."""

    def __call__(self, rows: npt.NDArray[np.float32], first: int) -> npt.NDArray[np.float32]:
        """Return the changed rows, (n, width); `first` is the index of the first of them."""
        ...


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies. `dtype` is safetensors' name (BF16, F16, F32), `offset` from the
    start of `file`. What is read of it has `change` applied, in float32."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    size_bytes: int
    change: Change | None = None


@dataclass(frozen=True)
class _Scaled:
    """Rows times a number, from some row on of a matrix that may be changed already."""

    factor: float
    first: int
    before: Change | None

    def __call__(self, rows: npt.NDArray[np.float32], first: int) -> npt.NDArray[np.float32]:
        if self.before is not None:
            rows = self.before(rows, self.first + first)
        return rows * np.float32(self.factor)


def row_part(info: TensorInfo, *, first: int, rows: int, factor: float) -> TensorInfo:
    """Return rows of a matrix, from `first` on, multiplied by `factor` when they are read."""
    total, width = info.shape
    each = info.size_bytes // total
    assert first + rows <= total, (info.name, first, rows)
    return replace(
        info,
        shape=(rows, width),
        offset=info.offset + first * each,
        size_bytes=rows * each,
        change=_Scaled(factor, first, info.change),
    )


CHANGED_ROWS = 1 << 13
"""Rows that are changed at a time: what the changes need besides stays small."""
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself
ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}
BUFFER_BYTES = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Whole numbers: buffers that a model can make itself, never weights."""


def read_header(
    path: Path, *, left_out: Callable[[str], bool] = lambda name: False
) -> dict[str, TensorInfo]:
    """Return where each tensor of `path` lies, without those that `left_out` names, which may hold
    whole numbers. Raises BadInput naming the file and the tensor for a file that is empty, cut off,
    or whose header contradicts its size."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        prefix = handle.read(8)
        if len(prefix) < 8:
            raise BadInput(f"'{path}' is {size} bytes long, too short; copy the checkpoint again")
        length = int.from_bytes(prefix, "little")
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise BadInput(
                f"'{path}' claims a header of {length:,} bytes in a file of {size:,}; "
                "it is truncated or damaged, copy the checkpoint again"
            )
        raw = handle.read(length)
    header: Any = parse_json(raw, f"the header of '{path}'", remedy="save it again", twice=False)
    if not isinstance(header, dict):
        raise BadInput(f"'{path}' has a header that is not a JSON object; save it again")
    header.pop("__metadata__", None)
    start = 8 + length
    found = {name: _entry(path, name, entry, start, size) for name, entry in header.items()}
    _check_apart(path, found.values())
    kept = {name: info for name, info in found.items() if not left_out(name)}
    whole = next((info for info in kept.values() if info.dtype in BUFFER_BYTES), None)
    if whole is not None:
        raise BadInput(
            f"tensor '{whole.name}' of '{path}' has dtype {whole.dtype}, whole numbers, and is no "
            "buffer that this model is known to have; re-save the model as bf16, fp16 or fp32"
        )
    return kept


def _check_apart(path: Path, found: Iterable[TensorInfo]) -> None:
    """Raise BadInput for two tensors that share bytes: each name has its own in this format."""
    placed = sorted(found, key=lambda tensor: (tensor.offset, tensor.size_bytes))
    for one, other in pairwise(placed):
        if one.offset + one.size_bytes > other.offset:
            raise BadInput(
                f"tensors '{one.name}' and '{other.name}' of '{path}' overlap; save it again"
            )


def _entry(path: Path, name: str, entry: Any, start: int, size: int) -> TensorInfo:
    where = f"tensor '{name}' of '{path}'"
    try:
        dtype, shape = str(entry["dtype"]), tuple(operator.index(n) for n in entry["shape"])
        begin, end = (operator.index(n) for n in entry["data_offsets"])
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"{where} has no sound dtype, shape and data_offsets; save it again") from (
            None
        )
    item = (ITEM_BYTES | BUFFER_BYTES).get(dtype)
    if item is None:
        raise BadInput(f"{where} has dtype {dtype}; re-save the model as bf16, fp16 or fp32")
    if not 0 <= begin <= end or start + end > size:
        raise BadInput(f"{where} ends past the end of the file; it is truncated, copy it again")
    if any(n < 0 for n in shape) or math.prod(shape) * item != end - begin:
        raise BadInput(f"{where} has shape {list(shape)} but {end - begin:,} bytes; save it again")
    return TensorInfo(name, dtype, shape, path, start + begin, end - begin)


def read_tensor(info: TensorInfo) -> npt.NDArray[np.float32]:
    """Return a tensor as float32 in its shape, read from disk. bf16, fp16, fp32 are exact."""
    stored = _read_stored(info)
    if info.change is not None:
        for at in range(0, len(stored), CHANGED_ROWS):
            stored[at : at + CHANGED_ROWS] = info.change(stored[at : at + CHANGED_ROWS], at)
    return stored


def _read_stored(info: TensorInfo) -> npt.NDArray[np.float32]:
    count = math.prod(info.shape)
    if info.dtype == "BF16":
        half = np.fromfile(info.file, np.uint16, count, offset=info.offset)
        return (half.astype(np.uint32) << 16).view(np.float32).reshape(info.shape)
    dtype = {"F16": np.float16, "F32": np.float32, "F64": np.float64}[info.dtype]
    return (
        np.fromfile(info.file, dtype, count, offset=info.offset)
        .astype(np.float32, copy=False)
        .reshape(info.shape)
    )


def read_row_blocks(
    info: TensorInfo, *, block_bytes: int = 1 << 26, only: npt.NDArray[np.int64] | None = None
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield a matrix as blocks of whole rows in float32, each of at most about `block_bytes`.

    `only`: which rows, ascending; None for all.
    """
    rows, width = info.shape
    item = ITEM_BYTES[info.dtype]
    step = max(1, block_bytes // (4 * width))
    for start in range(0, rows, step):
        count = min(step, rows - start)
        wanted = (
            None if only is None else only[slice(*np.searchsorted(only, (start, start + count)))]
        )
        if wanted is not None and not len(wanted):
            continue
        block = _read_stored(
            replace(
                info,
                shape=(count, width),
                offset=info.offset + start * width * item,
                size_bytes=count * width * item,
            )
        )
        if info.change is not None:
            block = info.change(block, start)
        yield block if wanted is None else block[wanted - start]


def largest_magnitude(info: TensorInfo) -> float:
    """Return the largest absolute value of a tensor. Infinite or NaN where one is in it.

    A bf16 without its sign bit sorts as an integer: no row is widened to float32.
    """
    if info.dtype == "BF16" and info.change is None:
        bits = np.memmap(info.file, np.uint16, "r", info.offset, (math.prod(info.shape),))
        step = 1 << 24
        largest = max(
            int((bits[at : at + step] & 0x7FFF).max()) for at in range(0, len(bits), step)
        )
        return float(np.array([largest << 16], np.uint32).view(np.float32)[0])
    return max(float(np.abs(block).max()) for block in read_row_blocks(info))
