"""What a quantization scheme decides: how the table is looked up and a matrix applied."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.table import Table
from exporter.formats.onnx.graph_writer import GraphWriter
from exporter.manifest import Fp16Record
from exporter.progress import Stages, silent
from exporter.quantization.rotate import hadamard
from exporter.quantization.weights import ModelWeights

Load = Callable[[], npt.NDArray[np.float32]]
"""Reads a weight when it is needed, (in, out) float32."""


class Scheme(Protocol):
    """One way of storing weights. Its name stands in `names.SCHEMES`."""

    name: str
    compute: type[np.floating[Any]]
    """dtype of activations. float16 gets weights rescaled so that nothing overflows."""
    kept: tuple[str, ...]
    """What stays in higher precision, one line each, with the reason."""

    def bytes_per_weight(self) -> float:
        """Return the approximate size of one weight, for the check of free disk."""
        ...

    def lookup(self, writer: GraphWriter, table: Table, ids: str, *, scale: float) -> str:
        """Add the embedding lookup of `ids`, times `scale`. Returns (batch, sequence, hidden)
        in the compute dtype."""
        ...

    def enter(self, writer: GraphWriter, x: str, *, site: str) -> "Input":
        """Add what makes of x, (batch, sequence, width) in the compute dtype, the input of the
        matrices of `site` (`exporter.quantization.forward.INPUTS`), once for all of them."""
        ...

    def matmul(self, writer: GraphWriter, x: "Input", weight: Load, *, name: str) -> str:
        """Add x @ weight. `weight` returns (in, out) float32. Returns (..., out) in the compute
        dtype, short of the factors of `x`: see `whole`."""
        ...


@dataclass(frozen=True)
class Input:
    """What matrices are multiplied with. Their products have still to be multiplied by `factors`,
    each (batch, sequence, 1)."""

    values: str
    factors: tuple[str, ...] = ()


def whole(writer: GraphWriter, product: str, *inputs: Input) -> str:
    """Multiply a product by all that it is short of."""
    factors = [factor for entered in inputs for factor in entered.factors]
    if not factors:
        return product
    factor = factors[0]
    for other in factors[1:]:  # of a row each: few numbers
        factor = writer.node("Mul", [factor, other])
    scaled: str = writer.node("Mul", [product, factor])
    return scaled


class PlainInput:
    """What schemes that multiply inputs as they are inherit."""

    def enter(self, writer: GraphWriter, x: str, *, site: str) -> Input:
        """See `Scheme.enter`: nothing is added."""
        del writer, site
        return Input(x)


@dataclass(frozen=True)
class Measurement:
    """A scheme that knows the model's activations, and the weights that it wants to store."""

    scheme: Scheme
    weights: ModelWeights
    fp16: Fp16Record | None = None


class MeasuringScheme(Scheme, Protocol):
    """A scheme that runs the model on calibration texts before anything is written."""

    def measure(
        self,
        checkpoint: Checkpoint,
        texts: Sequence[str],
        *,
        keep: Path | None = None,
        stages: Stages = silent,
    ) -> Measurement:
        """Return the scheme to write with. texts: prompts applied; keep: a folder for what other
        graphs of the same scheme can use again. Raises BadInput for
        activations that are not finite, MissingDependency without torch."""
        ...


def rotate(
    writer: GraphWriter, x: str, *, block: int, compute: type[np.floating[Any]] = np.float32
) -> str:
    """Add the product of each run of `block` with a Hadamard matrix: one product of all runs.
    x: (batch, sequence, width) in `compute`, as what is returned."""
    if block == 1:
        return x
    runs = writer.node("Reshape", [x, writer.constant([0, 0, -1, block], np.int64)])
    turned = writer.node("MatMul", [runs, writer.constant(hadamard(block), compute)])
    whole: str = writer.node("Reshape", [turned, writer.constant([0, 0, -1], np.int64)])
    return whole
