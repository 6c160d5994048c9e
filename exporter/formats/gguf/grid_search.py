"""Scales that round groups of weights with the least weighted squared error.

As llama.cpp's make_qx_quants and make_qkx3_quants search (ggml/src/ggml-quants.c), for all groups
of a matrix at once: a few ranges are tried; for each, the scale that fits the codes best is solved
for, and the codes whose best scale leaves the least error decide.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# The largest magnitude of a group is put at the end of the codes times these.
STRETCH = (0.7, 0.78, 0.84, 0.89, 0.93, 0.96, 0.98, 1.0, 1.03, 1.07, 1.12)
WIDE_STRETCH = (0.995, 1.0, 1.005)  # at 8 bits nothing is gained by clipping
WIDE = 100
# A group's range is spread over that many codes more than there are; what is too much is clipped at
# the top, or half of it at either end.
BEYOND = (-0.6, -0.3, 0.0, 0.3, 0.6, 1.0, 1.5, 2.1)
AT_BOTTOM = (0.0, 0.5)


def fit_symmetric(
    values: Floats, weight: Floats, *, low: int, high: int, codebook: tuple[int, ...] | None = None
) -> Floats:
    """Return the scale of each group, either sign, for values of about scale * code.

    values: (rows, groups, group); weight: (groups, group); codes go from `low` to `high`, or are
    those of `codebook`. Returns (rows, groups) float32, 0 for a group of zeros.
    """
    largest = np.abs(values).max(axis=-1)
    unit = values * inverse(largest)[..., None]
    best, gained = np.zeros_like(largest), np.full_like(largest, -1)
    end = float(-low if codebook is None else -codebook[0])
    for stretch in WIDE_STRETCH if low < -WIDE else STRETCH:
        for sign in (1.0,) if low == -high else (1.0, -1.0):
            steps = unit * np.float32(end * stretch * sign)
            codes: Floats
            if codebook is None:
                codes = np.clip(np.rint(steps), low, high)
            else:
                codes = np.array(codebook, np.float32)[np.searchsorted(halfways(codebook), steps)]
            weighted = codes * weight
            along = weighted_sum(weighted, unit)
            scale = along * inverse(weighted_sum(weighted, codes))
            gain = along * scale  # the error is the rest of the group's square
            better = gain > gained
            best, gained = np.where(better, scale, best), np.where(better, gain, gained)
    with np.errstate(over="ignore"):  # seen again in fp16, and refused
        found: Floats = best * largest
    return found


def fit_affine(values: Floats, weight: Floats, *, top: int, signed: bool) -> tuple[Floats, Floats]:
    """Return scale and offset of each group, for values of about scale * code - offset.

    Codes go from 0 to `top`; unless `signed`, the offset is not negative. Shapes as in
    `fit_symmetric`; returns (rows, groups) float32 twice.
    """
    lowest = values.min(axis=-1)
    if not signed:
        lowest = np.minimum(lowest, 0)
    width = values.max(axis=-1) / 2 - lowest / 2  # halved: the difference may overflow
    unit = values * (inverse(width) / np.float32(2))[..., None]
    start = (lowest * inverse(width) / 2)[..., None]
    whole = weight.sum(axis=-1)
    mean = weighted_sum(unit, weight)
    square = weighted_sum(np.square(unit), weight)
    best, base, least = np.zeros_like(width), -start[..., 0], np.full_like(width, np.inf)
    for beyond in BEYOND:
        for part in AT_BOTTOM if beyond > 0 else AT_BOTTOM[:1]:
            steps = (unit - start) * np.float32(top + beyond) - np.float32(beyond * part)
            codes: Floats = np.clip(np.rint(steps), 0, top)
            weighted: Floats = codes * weight
            first, second = weighted.sum(axis=-1), weighted_sum(weighted, codes)
            along = weighted_sum(weighted, unit)
            scale = (along - first * mean / whole) * inverse(second - np.square(first) / whole)
            offset = (scale * first - mean) / whole
            if not signed:  # where it would be negative the line goes through 0
                scale = np.where(offset < 0, along * inverse(second), scale)
                offset = np.maximum(offset, 0)
            error = (
                square
                - 2 * scale * along
                + 2 * offset * mean
                + np.square(scale) * second
                - 2 * scale * offset * first
                + np.square(offset) * whole
            )
            better = error < least
            best, base = np.where(better, scale, best), np.where(better, offset, base)
            least = np.where(better, error, least)
    with np.errstate(over="ignore"):
        return best * width * 2, base * width * 2


def inverse(values: Floats) -> Floats:
    """Return 1 / values, 0 where that is not finite."""
    with np.errstate(divide="ignore", over="ignore"):
        found = np.float32(1) / values
    kept: Floats = np.where(np.isfinite(found), found, np.float32(0))
    return kept


def halfways(codebook: tuple[int, ...]) -> Floats:
    """Return where the nearest of a rising `codebook` changes from one value to the next."""
    book = np.array(codebook, np.float32)
    found: Floats = (book[1:] + book[:-1]) / np.float32(2)
    return found


def weighted_sum(a: Floats, b: Floats) -> Floats:
    """Return the sum of a * b over each group, (rows, groups). a, b: (rows, groups, group), or
    (groups, group) for weights."""
    found: Floats = np.einsum("rgk,gk->rg" if b.ndim == 2 else "rgk,rgk->rg", a, b)
    return found
