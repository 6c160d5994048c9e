"""What a runtime that rounds a matrix' input in blocks makes of it, and grids given as arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.quantization.functions import torch_module
from exporter.quantization.gptq import Grid

LEVELS = 127


def round_blocks(block: int) -> Callable[[Any], Any]:
    """Return a function that rounds (..., width) torch to 8 bits, a scale for each `block` values;
    a last block may be narrower.

    As llama.cpp rounds the inputs of quantized matrices: 32 (Q8_0, its scale in fp16) or 256
    (Q8_K, in float32).
    """
    torch = torch_module()

    def rounded(values: Any) -> Any:
        width = values.shape[-1]
        whole = torch.nn.functional.pad(values, (0, -width % block))
        parts = whole.unflatten(-1, (-1, block))
        scale = parts.abs().amax(-1, keepdim=True) / LEVELS
        codes = torch.where(scale == 0, 0, parts / scale).round()
        if block == 32:
            scale = scale.half().float()
        return (codes * scale).flatten(-2)[..., :width]

    return rounded


def grid_of_arrays(
    scale: npt.NDArray[np.float32],
    offset: npt.NDArray[np.float32] | None,
    *,
    group: int,
    low: int,
    high: int,
    levels: tuple[int, ...] | None = None,
) -> Grid:
    """Return a grid whose groups are runs of `group` columns. scale, offset: (rows, groups)."""
    torch = torch_module()
    return Grid(
        scale=torch.from_numpy(scale),
        offset=None if offset is None else torch.from_numpy(offset),
        group=torch.arange(scale.shape[1] * group) // group,
        low=low,
        high=high,
        levels=None if levels is None else torch.tensor(levels, dtype=torch.float32),
    )
