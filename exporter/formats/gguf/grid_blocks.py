"""Scales of two levels: an fp16 number a block of 256 columns times a small integer a group.

The integers next to the first ones are tried for each group, then the blocks' numbers are solved
for, by turns: llama.cpp rounds both once (quantize_row_q4_K_impl in ggml/src/ggml-quants.c).
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from exporter.formats.gguf.grid_search import inverse, weighted_sum

Floats = npt.NDArray[np.float32]

TURNS = 3
NEAR = (0, -1, 1)


@dataclass(frozen=True)
class Levels:
    """Numbers of two levels. d, dmin: (rows, blocks) float32 that fp16 holds; sub, sub_min: (rows,
    groups) float32 integers."""

    d: Floats
    dmin: Floats
    sub: Floats
    sub_min: Floats

    def by_group(self, part: Floats) -> Floats:
        """Return a block's number at each of its groups, (rows, groups)."""
        return part.repeat(self.sub.shape[1] // part.shape[1], axis=1)


@dataclass(frozen=True)
class CodeBounds:
    """Codes, and integers of groups, lie within these. groups: of a block."""

    low: int
    high: int
    groups: int
    sub_low: int
    sub_high: int


def fit_levels(
    values: Floats, weight: Floats, scale: Floats, offset: Floats, *, bounds: CodeBounds
) -> Levels:
    """Return the two levels that round `values` best, near the scales and offsets asked for.

    values: (rows, groups, group); weight: (groups, group); scale, offset: (rows, groups).
    """
    shape = (len(scale), -1, bounds.groups)
    blocks = scale.reshape(shape)
    at = np.abs(blocks).argmax(axis=-1)[..., None]
    end = bounds.sub_low if bounds.sub_low < 0 else bounds.sub_high
    d = half(np.take_along_axis(blocks, at, axis=-1)[..., 0] / np.float32(end))
    dmin = half(offset.reshape(shape).max(axis=-1) / np.float32(bounds.sub_high))
    found = Levels(d, dmin, scale, offset)
    if not (np.isfinite(d).all() and np.isfinite(dmin).all()):
        return found  # `fit_grid` refuses it by name
    found = Levels(
        d,
        dmin,
        np.clip(np.rint(scale * inverse(found.by_group(d))), bounds.sub_low, bounds.sub_high),
        np.clip(np.rint(offset * inverse(found.by_group(dmin))), 0, bounds.sub_high),
    )
    for _ in range(TURNS):
        found = _refitted(values, weight, found, bounds)
        found = _neighbours(values, weight, found, bounds)
    return found


def half(values: Floats) -> Floats:
    """Return what fp16 holds of `values`, infinity where that is too little."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def _codes(values: Floats, scale: Floats, offset: Floats, bounds: CodeBounds) -> Floats:
    steps = (values + offset[..., None]) * inverse(scale)[..., None]
    codes: Floats = np.clip(np.rint(steps), bounds.low, bounds.high)
    return codes


def _error(values: Floats, weight: Floats, codes: Floats, scale: Floats, offset: Floats) -> Floats:
    missing = codes * scale[..., None] - offset[..., None] - values
    return weighted_sum(np.square(missing), weight)


def _neighbours(values: Floats, weight: Floats, found: Levels, bounds: CodeBounds) -> Levels:
    """Return the integers that round each group best, of the present ones and those beside them."""
    d, dmin = found.by_group(found.d), found.by_group(found.dmin)
    sub, sub_min, least = found.sub, found.sub_min, np.full_like(found.sub, np.inf)
    for up, up_min in product(NEAR, NEAR if bounds.low == 0 else NEAR[:1]):
        tried = np.clip(found.sub + up, bounds.sub_low, bounds.sub_high)
        tried_min = np.clip(found.sub_min + up_min, 0, bounds.sub_high)
        scale, offset = d * tried, dmin * tried_min
        codes = _codes(values, scale, offset, bounds)
        error = _error(values, weight, codes, scale, offset)
        better = error < least
        sub, sub_min = np.where(better, tried, sub), np.where(better, tried_min, sub_min)
        least = np.where(better, error, least)
    return Levels(found.d, found.dmin, sub, sub_min)


def _refitted(values: Floats, weight: Floats, found: Levels, bounds: CodeBounds) -> Levels:
    """Return the blocks' numbers that fit the present codes best, where that is better."""
    scale, offset = found.by_group(found.d) * found.sub, found.by_group(found.dmin) * found.sub_min
    codes = _codes(values, scale, offset, bounds)
    weighted = codes * weight
    shape = (len(values), -1, bounds.groups)

    def total(part: Floats) -> Floats:
        summed: Floats = part.reshape(shape).sum(axis=-1)
        return summed

    # The least squares of d * sub * code - dmin * sub_min, two unknowns a block.
    aa = total(np.square(found.sub) * weighted_sum(weighted, codes))
    ab = total(found.sub * found.sub_min * weighted.sum(axis=-1))
    bb = total(np.square(found.sub_min) * weight.sum(axis=-1))
    ax = total(found.sub * weighted_sum(weighted, values))
    bx = total(found.sub_min * weighted_sum(values, weight))
    if bounds.low == 0:
        divisor = inverse(aa * bb - np.square(ab))
        d, dmin = half((ax * bb - bx * ab) * divisor), half((ab * ax - aa * bx) * divisor)
        usable = (divisor > 0) & (d > 0) & (dmin >= 0)
    else:
        d, dmin = half(ax * inverse(aa)), found.dmin
        usable = d != 0
    tried = Levels(
        np.where(usable, d, found.d), np.where(usable, dmin, found.dmin), found.sub, found.sub_min
    )

    def error(levels: Levels) -> Floats:
        scale = levels.by_group(levels.d) * levels.sub
        offset = levels.by_group(levels.dmin) * levels.sub_min
        return total(_error(values, weight, codes, scale, offset))

    better = error(tried) < error(found)
    return Levels(
        np.where(better, tried.d, found.d),
        np.where(better, tried.dmin, found.dmin),
        found.sub,
        found.sub_min,
    )
