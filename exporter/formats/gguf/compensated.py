"""Matrices rounded by GPTQ inside ggml's own blocks.

Each matrix has its grid fitted first, then its codes are chosen so that their errors compensate
each other on calibration text. The file is of the same format, as small and as fast as any other of
its type: no reader need know.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import layer_name
from exporter.errors import BadInput
from exporter.formats.gguf.grids import LAYOUTS, BlockGrid, fit_grid
from exporter.formats.gguf.pack_codes import pack_codes
from exporter.formats.gguf.plan import TABLE, Plan
from exporter.formats.gguf.tensors import gguf_family
from exporter.formats.gguf.types import QTYPE, GgufType, pack, unpack
from exporter.progress import Stages, by_layer, silent
from exporter.quantization.block_inputs import grid_of_arrays, round_blocks
from exporter.quantization.gptq import Grid
from exporter.quantization.rotate import RotatedWeights
from exporter.quantization.rounding import RoundInput, quantize_layers
from exporter.quantization.weights import ModelWeights

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

K_QUANTS = frozenset({QTYPE.Q4_K, QTYPE.Q5_K, QTYPE.Q6_K})


def compensated_bytes(
    weights: RotatedWeights,
    texts: Sequence[str],
    *,
    gguf_type: GgufType,
    plan: Plan,
    stages: Stages = silent,
) -> Mapping[str, Bytes]:
    """Return the bytes of every projection, (rows, bytes of a row), by its tensor's name.

    texts: prompts applied. Matrices whose type has no grid (F16, where rows are no whole blocks)
    are left out. Deterministic on one machine. Raises BadInput for activations that are not
    finite, or weights beyond a type's scales; MissingDependency without torch.
    """
    grids: dict[str, BlockGrid] = {}
    tensor_name = gguf_family(weights.checkpoint).tensor_name

    def fit(name: str, weight: Any, importance: Any) -> Grid | None:
        stored, _ = plan.storage(gguf_type, tensor_name(name + ".weight"), weight.shape)
        if stored not in LAYOUTS:
            return None
        grids[name] = fit_matrix(name, weight, importance, stored=stored)
        return as_grid(grids[name])

    made = quantize_layers(
        weights,
        texts,
        fit=fit,
        round_input=inputs_in_llama_cpp(weights, gguf_type, plan),
        round_table=lambda rows: table_as_stored(rows, gguf_type=gguf_type, plan=plan),
        on_layer=by_layer(stages("gguf: layers rounded", weights.architecture.num_layers)),
    )
    return {
        name + ".weight": pack_codes(made.pop(name).codes.numpy(), grid)
        for name, grid in grids.items()
    }


def fit_matrix(name: str, weight: Any, importance: Any, *, stored: Any) -> BlockGrid:
    """Return the grid of a matrix in the type `stored`. Raises BadInput, naming the matrix."""
    try:
        return fit_grid(weight.numpy(), stored, importance=importance.numpy())
    except BadInput as error:
        raise BadInput(f"tensor '{name}.weight': {error}") from None


def as_grid(found: BlockGrid) -> Grid:
    """Return a format's grid as GPTQ takes it."""
    layout = found.layout
    return grid_of_arrays(
        found.scale,
        found.offset if layout.offsets else None,
        group=layout.group,
        low=layout.low,
        high=layout.high,
        levels=layout.codebook,
    )


def inputs_in_llama_cpp(weights: ModelWeights, gguf_type: GgufType, plan: Plan) -> RoundInput:
    """Return what llama.cpp makes of the inputs of each site's first matrix.

    It rounds them to 8 bits in blocks of 32, or 256 for K-quants; F16 and wider leave them.
    """
    tensor_name = gguf_family(weights.checkpoint).tensor_name
    rounding = {}
    for layer in range(weights.architecture.num_layers):
        for site in weights.sites:
            name = tensor_name(layer_name(layer, site.matrices[0]) + ".weight")
            stored, _ = plan.storage(gguf_type, name, (1, site.width))
            if stored in LAYOUTS:
                rounding[layer, site.name] = round_blocks(input_block(stored))

    def rounded(layer: int, site: str, values: Any) -> Any:
        at = layer, site
        return rounding[at](values) if at in rounding else values

    return rounded


def input_block(stored: Any) -> int:
    """Return how many inputs of a matrix stored as `stored` share a scale in llama.cpp."""
    return 256 if stored in K_QUANTS else 32


def table_as_stored(rows: Floats, *, gguf_type: GgufType, plan: Plan) -> Floats:
    """Return rows of the embedding table as the file holds them."""
    stored, _ = plan.storage(gguf_type, TABLE, rows.shape)
    return rows_as_stored(rows, stored)


def rows_as_stored(rows: Floats, stored: Any) -> Floats:
    """Return rows of the embedding table as the type `stored` holds them."""
    if stored not in LAYOUTS:
        return unpack(pack(rows, stored), stored)
    grid = fit_grid(rows, stored)
    return grid.values(grid.nearest(rows))
