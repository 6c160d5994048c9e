"""What a quantization scheme decides: how the table is looked up and a matrix applied."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import Checkpoint, TensorInfo
from exporter.manifest import Fp16Record, HeadCorrectionRecord
from exporter.onnx.graph_writer import FLOAT, GraphWriter
from exporter.progress import Stages, silent
from exporter.quantization.head import Choice, CorrectedHead, correct_head
from exporter.quantization.weights import ModelWeights

TABLE_BLOCK_BYTES = 1 << 24
"""How much of the embedding table is in memory at a time, as float32."""


class Scheme(Protocol):
    """One way of storing weights. Registered by name in `exporter.registry.ONNX_SCHEMES`."""

    name: str
    compute: type[np.floating[Any]]
    """dtype of activations. float16 gets weights rescaled so that nothing overflows."""
    kept: tuple[str, ...]
    """What stays in higher precision, one line each, with the reason."""

    def bytes_per_weight(self) -> float:
        """Return the approximate size of one weight, for the check of free disk."""
        ...

    def lookup(self, writer: GraphWriter, table: TensorInfo, ids: str, *, scale: float) -> str:
        """Add the embedding lookup of `ids`, times `scale`. Returns (batch, sequence, hidden)
        in the compute dtype."""
        ...

    def matmul(
        self, writer: GraphWriter, x: str, weight: npt.NDArray[np.float32], *, name: str
    ) -> str:
        """Add x @ weight. weight: (in, out) float32. Returns (..., out). x and the
        product are in the compute dtype."""
        ...


def row_scales(writer: GraphWriter, scales: str, ids: str) -> str:
    """Add the lookup of `scales`, (vocabulary, parts) float16. Returns (batch, sequence, parts) in
    float32."""
    if not writer.flavour.float16_rows:
        wide = writer.node("Cast", [scales], to=FLOAT)
        found: str = writer.node("Gather", [wide, ids], axis=0)
        return found
    cast: str = writer.node("Cast", [writer.node("Gather", [scales, ids], axis=0)], to=FLOAT)
    return cast


@dataclass(frozen=True)
class Measured:
    """A scheme that knows the model's activations, and the weights that it wants to store."""

    scheme: Scheme
    weights: ModelWeights
    fp16: Fp16Record | None = None
    head_correction: HeadCorrectionRecord | None = None


class MeasuringScheme(Scheme, Protocol):
    """A scheme that runs the model on calibration texts before anything is written."""

    def measure(
        self, checkpoint: Checkpoint, texts: Sequence[str], *, head_correction: Choice,
        stages: Stages = silent,
    ) -> Measured:  # fmt: skip
        """Return the scheme to write with. texts: prompts applied. Raises BadInput for
        activations that are not finite, MissingDependency without torch."""
        ...


def corrected(
    scheme: Scheme, weights: ModelWeights, reference: npt.NDArray[np.float32],
    emulate: Callable[[], npt.NDArray[np.float32]], *, choice: Choice,
) -> Measured:  # fmt: skip
    """Return `Measured`, the head refitted where `choice` says so.

    reference, and what `emulate` returns: (n, hidden), pooled states before and after quantization.
    """
    head = weights.head(dim=weights.checkpoint.dim)
    if choice == "off" or head is None:
        return Measured(scheme, weights)
    fitted, record = correct_head(head, reference, emulate(), choice=choice)
    kept = CorrectedHead(weights, fitted) if record.applied else weights
    return Measured(scheme, kept, head_correction=record)
