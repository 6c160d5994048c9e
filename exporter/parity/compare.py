"""Compare two sets of vectors, and the token ids behind them. Pure functions."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from exporter.corpus.beir import TextRole
from exporter.parity.measured import CosineSummary, ErrorHistogram, WorstText
from exporter.vectors.rows import Rows, Vectors, as_rows

Cosines = npt.NDArray[np.float64]
LOW_EXPONENT, HIGH_EXPONENT, PER_DECADE = -9, 0, 4
"""Bins of error histograms: from float32's own rounding to unrelated vectors."""


def row_cosines(a: Vectors | Rows, b: Vectors | Rows) -> Cosines:
    """Return the cosine of each row pair, computed in float64, block by block.

    a, b: (n, dim), any length but zero. Returns (n,) in [-1, 1]. Raises BadInput where a row is
    zero or not finite.
    """
    left, right = as_rows(a, source="the first"), as_rows(b, source="the second")
    if (len(left), left.dim) != (len(right), right.dim):
        raise ValueError(f"shapes differ: {len(left), left.dim} and {len(right), right.dim}")
    cosines: Cosines = np.empty(len(left))
    for start, x in left.blocks():
        stop = start + len(x)
        y = right.block(start, stop).astype(np.float64)
        norms = np.linalg.norm(x.astype(np.float64), axis=1) * np.linalg.norm(y, axis=1)
        cosines[start:stop] = np.einsum("ij,ij->i", x, y) / norms
    return np.clip(cosines, -1.0, 1.0)


def summarize_cosines(
    cosines: Cosines,
    texts: Sequence[str],
    *,
    ids: Sequence[str],
    kinds: Sequence[TextRole],
    worst: int = 10,
) -> CosineSummary:
    """Return minimum, 1st percentile, median, mean and the worst texts, cut to 120 characters.

    cosines: (n,) of `texts`, which the corpus knows by `ids` as documents or questions.
    """
    order = np.argsort(cosines, kind="stable")[:worst]
    return CosineSummary(
        minimum=float(cosines.min()),
        p1=float(np.percentile(cosines, 1)),
        median=float(np.median(cosines)),
        mean=float(cosines.mean()),
        worst=tuple(
            WorstText(id=ids[i], kind=kinds[i], cosine=float(cosines[i]), text=shorten(texts[i]))
            for i in map(int, order)
        ),
    )


def count_errors(cosines: Cosines) -> ErrorHistogram:
    """Return how many of the cosines (n,) lie how far from 1, in bins of a quarter of a decade."""
    bins = (HIGH_EXPONENT - LOW_EXPONENT) * PER_DECADE
    errors = np.maximum(1 - cosines, 10.0**LOW_EXPONENT)
    places = np.floor((np.log10(errors) - LOW_EXPONENT) * PER_DECADE).astype(int)
    counts = np.bincount(np.clip(places, 0, bins - 1), minlength=bins)
    return ErrorHistogram(
        low_exponent=LOW_EXPONENT, per_decade=PER_DECADE, counts=tuple(map(int, counts))
    )


def shorten(text: str, *, length: int = 120) -> str:
    """Return `text`, or its beginning and an ellipsis where it is longer than `length`."""
    return text if len(text) <= length else text[: length - 1] + "…"


def first_token_difference(
    ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]], texts: Sequence[str]
) -> tuple[int, str | None]:
    """Return how many texts have other token ids, and a line about the first of them."""
    different = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    if not different:
        return 0, None
    i = different[0]
    a, b = list(ours[i]), list(theirs[i])
    at = next(
        (k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    line = f"position {at} is {a[at : at + 1]} instead of {b[at : at + 1]} in {shorten(texts[i])!r}"
    return len(different), line
