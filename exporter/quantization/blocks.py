"""Whole numbers in blocks of 32 of a row, each with a scale and a whole zero point, by GPTQ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.quantization.functions import torch_module
from exporter.quantization.gptq import Grid
from exporter.quantization.grids import block_grid
from exporter.quantization.rotate import RotatedWeights, usual_blocks
from exporter.quantization.rounding import Fit, Rounded, exact, quantize_layers
from exporter.quantization.weights import ModelWeights

Floats = npt.NDArray[np.float32]
Widths = Callable[[str], int]
"""Given a matrix, as `layers.0.self_attn.q_proj`, returns its bits."""

BLOCK = 32  # weights that share a scale


@dataclass(frozen=True)
class BlockMatrix:
    """codes: (out, in) uint8, 0 to 2^bits - 1; zeros: (out, blocks) uint8, in the same range;
    scales: (out, blocks) float32. A weight is scale * (code - zero) of its block of 32 columns."""

    codes: npt.NDArray[np.uint8]
    zeros: npt.NDArray[np.uint8]
    scales: Floats
    bits: int

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
class BlockModel:
    """What a graph in blocks is written from. `weights`: rotated, for all that is not rounded."""

    weights: RotatedWeights
    matrices: Mapping[str, BlockMatrix]


def fit_blocks(bits: int) -> Fit:
    """Return what chooses the grid of a matrix of `bits`."""

    def fit(name: str, weight: Any, importance: Any) -> Grid:
        del name
        return block_grid(weight, importance, block=BLOCK, bits=bits)

    return fit


def rotated_blocks(inner: ModelWeights) -> RotatedWeights:
    """Return the weights rotated as a graph in blocks has them."""
    return RotatedWeights(inner, usual_blocks(inner.sites))


def quantize_blocks(
    inner: ModelWeights,
    texts: Sequence[str],
    *,
    bits: Widths,
    table_bits: int,
    on_layer: Callable[[int], None] | None = None,
) -> BlockModel:
    """Round the backbone's projections. texts: prompts applied. Raises BadInput for activations
    that are not finite, MissingDependency without torch."""
    weights = rotated_blocks(inner)

    def fit(name: str, weight: Any, importance: Any) -> Grid | None:
        return fit_blocks(bits(name))(name, weight, importance)

    found = quantize_layers(
        weights,
        texts,
        fit=fit,
        round_input=exact,
        round_table=lambda rows: quantize_table_rows(rows, bits=table_bits).values(),
        on_layer=on_layer,
    )
    made = {name: _stored(matrix, bits=bits(name)) for name, matrix in found.items()}
    return BlockModel(weights, made)


def quantize_table_rows(rows: Floats, *, bits: int) -> BlockMatrix:
    """Quantize rows of the embedding table, each block by itself. rows: (n, hidden)."""
    torch = torch_module()
    with torch.inference_mode():
        values = torch.from_numpy(rows)
        grid = block_grid(values, torch.ones(rows.shape[1]), block=BLOCK, bits=bits)
        return _stored(Rounded(grid.nearest(values), grid), bits=bits)


def _stored(found: Rounded, *, bits: int) -> BlockMatrix:
    scale, offset = found.grid.scale, found.grid.offset
    zeros = (offset / scale).round()
    return BlockMatrix(
        codes=found.codes.numpy().astype(np.uint8),
        zeros=zeros.numpy().astype(np.uint8),
        scales=np.ascontiguousarray(scale.numpy()),
        bits=bits,
    )
