"""What an adapter makes of a tensor of its base, exactly: some rows at a time, nothing stored.

Sums are taken in float64 and rounded once to float32, so a merged weight is the nearest float32 to
the one that PEFT's unmerged layers act as; the base's own type (bf16) is never rounded to.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.safetensors_file import TensorInfo, read_tensor

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def _double(info: TensorInfo) -> Doubles:
    return read_tensor(info).astype(np.float64)


def _single(values: Doubles) -> Floats:
    with np.errstate(over="ignore"):  # `read` refuses what is not finite
        return values.astype(np.float32)


@dataclass(frozen=True)
class LowRank:
    """LoRA and DoRA: W + factor * B A, each row then brought to the length `magnitude` gives it.

    a: (rank, in), b: (out, rank), magnitude: (out,). For an embedding's table, (rows, width), the
    change is the transposed product: a is (rank, rows), b (width, rank).
    """

    a: TensorInfo
    b: TensorInfo
    factor: float
    magnitude: TensorInfo | None = None
    of_table: bool = False

    def __call__(self, rows: Floats, first: int) -> Floats:
        part = slice(first, first + len(rows))
        left, right = _double(self.b), _double(self.a)
        if self.of_table:
            left, right = right.T, left.T
        merged: Doubles = rows + self.factor * (left[part] @ right)
        if self.magnitude is not None:
            wanted = _double(self.magnitude).reshape(-1)[part]
            with np.errstate(divide="ignore", invalid="ignore"):
                merged *= (wanted / np.linalg.norm(merged, axis=1))[:, None]
        return _single(merged)


@dataclass(frozen=True)
class Hadamard:
    """LoHa: W + factor * (A1 B1) * (A2 B2), the latter product element by element.

    first_a, second_a: (out, rank); first_b, second_b: (rank, in).
    """

    first_a: TensorInfo
    first_b: TensorInfo
    second_a: TensorInfo
    second_b: TensorInfo
    factor: float

    def __call__(self, rows: Floats, first: int) -> Floats:
        part = slice(first, first + len(rows))
        one = _double(self.first_a)[part] @ _double(self.first_b)
        other = _double(self.second_a)[part] @ _double(self.second_b)
        merged: Doubles = rows + self.factor * one * other
        return _single(merged)


@dataclass(frozen=True)
class Scaled:
    """IA3: each row (`by`: (out, 1)) or each column ((1, in)) multiplied by a factor of its own."""

    by: TensorInfo

    def __call__(self, rows: Floats, first: int) -> Floats:
        by = _double(self.by)
        if len(by) > 1:
            by = by[first : first + len(rows)]
        merged: Doubles = rows * by
        return _single(merged)
