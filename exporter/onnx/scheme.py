"""What a quantization scheme decides: how the table is looked up and a matrix applied."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import TensorInfo
from exporter.onnx.graph_writer import GraphWriter

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
