"""4 bits in blocks of 32, each with a scale and a whole zero point, rounded by GPTQ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.quantization.forward import torch_module
from exporter.quantization.gptq import Grid
from exporter.quantization.grids import block_grid
from exporter.quantization.rotate import RotatedWeights, usual_blocks
from exporter.quantization.rounding import Rounded, exact, quantize_layers
from exporter.quantization.weights import ModelWeights

Floats = npt.NDArray[np.float32]

BLOCK = 32  # weights that share a scale
BITS = 4


@dataclass(frozen=True)
class Q4Matrix:
    """codes: (out, in) uint8, 0 to 15; zeros: (out, blocks) uint8; scales: (out, blocks) float32. A
    weight is scale * (code - zero) of its block of 32 columns."""

    codes: npt.NDArray[np.uint8]
    zeros: npt.NDArray[np.uint8]
    scales: Floats

    def values(self) -> Floats:
        """Return the weights as a runtime sees them, (out, in)."""
        width = self.codes.shape[1]
        scales, zeros = (
            part.astype(np.float32).repeat(BLOCK, axis=1)[:, :width]
            for part in (self.scales, self.zeros)
        )
        made: Floats = (self.codes - zeros) * scales
        return made


@dataclass(frozen=True)
class Q4Model:
    """What a graph in 4 bits is written from. `weights`: rotated, for all that is not rounded."""

    weights: RotatedWeights
    matrices: Mapping[str, Q4Matrix]


def fit_blocks(name: str, weight: Any, importance: Any) -> Grid:
    """See `exporter.quantization.rounding.Fit`."""
    del name
    return block_grid(weight, importance, block=BLOCK, bits=BITS)


def quantize_q4(
    inner: ModelWeights, texts: Sequence[str], *, on_layer: Callable[[int], None] | None = None
) -> Q4Model:
    """Round the backbone's projections. texts: prompts applied. Raises BadInput for activations
    that are not finite, MissingDependency without torch."""
    weights = RotatedWeights(inner, usual_blocks(inner.sites))
    found = quantize_layers(
        weights,
        texts,
        fit=fit_blocks,
        round_input=exact,
        round_table=rounded_rows,
        on_layer=on_layer,
    )
    return Q4Model(weights, {name: _stored(matrix) for name, matrix in found.items()})


def quantize_table_rows(rows: Floats) -> Q4Matrix:
    """Quantize rows of the embedding table, each block by itself. rows: (n, hidden)."""
    torch = torch_module()
    with torch.inference_mode():
        values = torch.from_numpy(rows)
        grid = block_grid(values, torch.ones(rows.shape[1]), block=BLOCK, bits=BITS)
        return _stored(Rounded(grid.nearest(values), grid))


def rounded_rows(rows: Floats) -> Floats:
    """Return rows of the embedding table as 4 bits leave them."""
    return quantize_table_rows(rows).values()


def _stored(found: Rounded) -> Q4Matrix:
    scale, offset = found.grid.scale, found.grid.offset
    zeros = (offset / scale).round()
    return Q4Matrix(
        codes=found.codes.numpy().astype(np.uint8),
        zeros=zeros.numpy().astype(np.uint8),
        scales=np.ascontiguousarray(scale.numpy()),
    )
