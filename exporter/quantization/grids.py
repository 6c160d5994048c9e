"""Grids that no file format decides: a scale an output channel in 8 bits, blocks in 4 bits."""

from typing import Any

from exporter.quantization.functions import torch_module
from exporter.quantization.gptq import Grid
from exporter.quantization.pairs import PAIR_LIMIT, TINY, within_pairs

# What is tried of the scale that clips nothing.
ROW_SHRINK = (1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.82)
BLOCK_SHRINK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


def row_grid(weight: Any, importance: Any) -> Grid:
    """Return int8 with a scale an output channel, no pair of neighbours over the bound.

    weight: (rows, columns) torch float32; importance: (columns,), the weight of each column's
    squared error. The scale is the one of a few that rounds with the least error, clipping
    included.
    """
    torch = torch_module()
    neighbours = torch.nn.functional.pad(weight, (0, weight.shape[1] % 2)).unflatten(1, (-1, 2))
    sums = neighbours.sum(-1).abs().amax(1, keepdim=True)
    largest = weight.abs().amax(1, keepdim=True)
    widest = torch.maximum(largest / 127, sums / PAIR_LIMIT).clamp_min(TINY)
    group = torch.zeros(weight.shape[1], dtype=torch.int64)
    best, least = widest, None
    for part in ROW_SHRINK:
        scale = widest * part
        codes = within_pairs((weight / scale).round().clamp(-127, 127))
        error = ((codes * scale - weight).square() * importance).sum(1, keepdim=True)
        if least is None:
            least = error
            continue
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return Grid(scale=best, group=group, low=-127, high=127, pairs=True)


def block_grid(weight: Any, importance: Any, *, block: int, bits: int) -> Grid:
    """Return unsigned codes with a scale and a whole zero point a block of columns.

    A weight is scale * (code - zero), zero from 0 to 2^bits - 1. The arguments are as for
    `row_grid`; the last block may be narrower.
    """
    torch = torch_module()
    rows, width = weight.shape
    high = 2**bits - 1
    pad = -width % block
    values = torch.nn.functional.pad(weight, (0, pad)).view(rows, -1, block)
    weights = torch.nn.functional.pad(importance, (0, pad)).view(1, -1, block)
    top = values.amax(-1, keepdim=True).clamp_min(0)
    bottom = values.amin(-1, keepdim=True).clamp_max(0)
    best_scale = best_zero = least = None
    for upper in BLOCK_SHRINK:
        for lower in (1.0, upper) if upper < 1 else (1.0,):
            for first, second in {(upper, lower), (lower, upper)}:
                scale = (top * first - bottom * second) / high
                scale = torch.where(scale == 0, TINY, scale)
                zero = (-bottom * second / scale).round().clamp(0, high)
                codes = (values / scale + zero).round().clamp(0, high) - zero
                # The scale that fits these codes best.
                fitted = (weights * codes * values).sum(-1, keepdim=True)
                fitted = fitted / (weights * codes * codes).sum(-1, keepdim=True).clamp_min(1e-30)
                fitted = torch.where(fitted > 0, fitted, scale)
                error = ((codes * fitted - values).square() * weights).sum(-1, keepdim=True)
                if least is None:
                    best_scale, best_zero, least = fitted, zero, error
                    continue
                better = error < least
                best_scale = torch.where(better, fitted, best_scale)
                best_zero = torch.where(better, zero, best_zero)
                least = torch.where(better, error, least)
    assert best_scale is not None and best_zero is not None
    scale, zero = best_scale[..., 0], best_zero[..., 0]
    group = torch.arange(width) // block
    return Grid(scale=scale, offset=scale * zero, group=group, low=0, high=high)
