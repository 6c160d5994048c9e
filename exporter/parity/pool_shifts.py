"""How likely an encoder moves a document's score by how much: step 3 of the derivation in
`pool_missed`."""

from collections.abc import Callable

import numpy as np
from scipy import stats

from exporter.parity.pool import Pool
from exporter.parity.pool_falls import CONFIDENCE
from exporter.vectors.rows import Rows
from exporter.vectors.search import Values

TIE = 1e-6
"""Scores nearer than this are taken to be equal: float32 products of unit rows are as far off."""
TAIL_POWER = 4
TAIL_STEPS = 1024
UNSEEN_FACTOR = 2.0
GAPS = np.geomspace(1e-7, 2.0, 2000)

Chance = Callable[[Values], Values]
"""Returns for each gap how likely it is to be passed, at most."""


def certain(gaps: Values) -> Values:
    """Return the chance to pass the bar of documents whose scores are known."""
    return np.asarray(gaps <= TIE, np.float64)


def chances(pool: Pool, queries: Rows, documents: Rows) -> Chance:
    """Return T of the derivation: a table; a gap has the chance of the next smaller one in it."""
    drawn = documents.take(pool.drawn_at)
    moved = drawn.block(0, len(drawn)).astype(np.float64)
    moved -= pool.drawn_rows.cut(documents.dim).block(0, len(drawn))
    shifts = queries.block(0, len(queries)).astype(np.float64) @ moved.T
    spread = np.maximum(np.sqrt((shifts**2).mean(axis=0)), 1e-12)
    tail = _tail(np.sort((shifts / spread).ravel()))
    unseen = 1 - (1 - CONFIDENCE) ** (1 / len(drawn))
    table = unseen * tail(GAPS / (UNSEEN_FACTOR * spread.max()))
    table += np.mean([tail(GAPS / one) for one in spread], axis=0)

    def chance(gaps: Values) -> Values:
        at = np.maximum(np.searchsorted(GAPS, gaps, side="right") - 1, 0)
        return np.where(gaps <= TIE, 1.0, np.minimum(table[at], 1))

    return chance


def _tail(seen: Values) -> Chance:
    """Return H of the derivation. seen: all quotients of the sample, ascending."""
    count = len(seen)
    largest = max(float(seen[-1]), 1.0)
    steps = np.linspace(0, largest, TAIL_STEPS)
    above = count - np.searchsorted(seen, steps)
    limits = stats.beta.ppf(CONFIDENCE, above + 1, np.maximum(count - above, 1))
    limits = np.where(above == count, 1.0, limits)

    def tail(wanted: Values) -> Values:
        at = np.searchsorted(steps, np.clip(wanted, 0, largest), side="right") - 1
        return np.asarray(limits[at] * (largest / np.maximum(wanted, largest)) ** TAIL_POWER)

    return tail
