"""8 bits for whole-number products: a scale an output channel, a scale a row of inputs.

Inputs are rotated (`exporter.quantization.rotate`), then rounded at run time with the scale of
their own row: tokens differ as much as channels do, so one scale for all rows cannot hold them.
Weights are rounded by GPTQ under the bound of `exporter.quantization.pairs`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import Checkpoint
from exporter.quantization.gptq import Grid
from exporter.quantization.grids import row_grid
from exporter.quantization.rotate import RotatedWeights
from exporter.quantization.rounding import Rounded, quantize_layers, round_rows
from exporter.quantization.table import table_rounding
from exporter.quantization.weights import ModelWeights

Floats = npt.NDArray[np.float32]

BLOCKS = {"attention_in": 64, "attended": 256, "mlp_in": 64, "product": 64}
"""How far each site is rotated."""


@dataclass(frozen=True)
class Int8Matrix:
    """codes: (out, in) int8; scales: (out,) float32. A weight is code * scale of its row."""

    codes: npt.NDArray[np.int8]
    scales: Floats


@dataclass(frozen=True)
class Int8Model:
    """What a graph in 8 bits is written from. `weights`: rotated, for all that stays float32."""

    weights: RotatedWeights
    matrices: Mapping[str, Int8Matrix]


def fit_rows(name: str, weight: Any, importance: Any) -> Grid:
    """See `exporter.quantization.rounding.Fit`."""
    del name
    return row_grid(weight, importance)


def quantize_int8(
    checkpoint: Checkpoint, texts: Sequence[str], *, blocks: Mapping[str, int] = BLOCKS,
    on_layer: Callable[[int], None] | None = None,
) -> Int8Model:  # fmt: skip
    """Round the backbone's projections. texts: prompts applied. Raises BadInput for activations
    that are not finite, MissingDependency without torch."""
    weights = RotatedWeights(ModelWeights(checkpoint), blocks)
    found = quantize_layers(
        weights,
        texts,
        fit=fit_rows,
        round_input=round_rows,
        round_table=table_rounding(checkpoint.tensors["embed_tokens.weight"]),
        on_layer=on_layer,
    )
    return Int8Model(weights, {name: _stored(matrix) for name, matrix in found.items()})


def _stored(found: Rounded) -> Int8Matrix:
    return Int8Matrix(
        found.codes.numpy().astype(np.int8), np.ascontiguousarray(found.grid.scale[:, 0].numpy())
    )
