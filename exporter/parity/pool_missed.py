"""What a pool can miss: an upper bound for each measure, from the random sample.

Let x be a question's vector by one encoder, y(d) a document's by the encoder whose index is
searched, c(d) the same document's by the chooser, which has seen the whole corpus. A document
outside the pool changes a question's figures only where its score x.y(d) reaches the bar: for MRR,
Hit and Top-1 the score of the best right answer among the first ten, for nDCG that of the lowest,
for membership of the first ten the tenth score. Right answers all lie in the pool, and what is
outside is not one.

1. With m documents above the bar a measure falls from f(0) to f(m), the right answers m places
   lower. `w` is the largest (f(0) - f(m)) / m, so the fall is at most w m.
2. x.y(d) = x.c(d) + s, where x.c(d) is known for every document and the shift s = x.(y(d) - c(d))
   is not. The document passes the bar where s is at least its gap, bar - x.c(d). The expected m is
   the sum of T(gap) over all documents outside, T(g) being the chance of a shift of at least g.
3. T comes from the sample, whose documents are drawn at random out of all that no chooser named,
   and which every encoder embeds. Documents differ in how far they are moved, so shifts are divided
   by their document's root mean square over the questions, r. H(z) is the share of (question,
   document) pairs whose quotient is at least z, at the upper end of its 95 % Clopper-Pearson
   interval (one side); past the largest quotient seen it falls by the fourth power only, where a
   normal's falls faster than any power. T(g) is then the mean of H(g / r) over the sample's
   documents, plus what the sample may have missed: by Clopper-Pearson at most u = 1 - 0.05^(1/S) of
   all documents are moved farther than all S of it, and these are taken to be moved twice as far as
   the farthest: u H(g / 2 r_max).
4. Where the sample itself says more (its documents that passed the bar, counted and scaled up by
   the number outside), that figure is taken instead.
5. The corpus has one outcome, not the expected one. Passings are rare and taken to be independent,
   so at 95 % their number over all questions is at most the Poisson quantile N of its mean, and the
   fall at most N times the largest w; and by Bernstein's inequality at most mu + t, where mu is the
   expected fall, V = sum of w^2 m, L = log 20 and t = b L / 3 + sqrt((b L / 3)^2 + 2 V L). The
   smaller of the two is the bound. No fall is larger than the measure.

What is assumed: how far a document is moved does not depend on which question is near it, the twice
and the fourth power of 3, and the independence of 5. An encoder that is the chooser has no shift at
all: its figures are those of the whole corpus wherever `first` is ten or more.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.parity.pool import Pool
from exporter.parity.pool_falls import DEPTH, falls, known, outcome
from exporter.parity.pool_shifts import TIE, certain, chances
from exporter.vectors.rows import Rows
from exporter.vectors.search import Ranking, Values

NEAR = 512
"""Documents outside whose own gap counts, a question; all others count with the last one's."""
BLOCK_QUERIES = 64

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Near:
    """Scores, by the chooser's vectors, of the documents outside that lie nearest to each question,
    best first: (questions, near). `more`: how many others lie outside."""

    scores: Scores
    more: int


@dataclass(frozen=True)
class Bound:
    """By how much the mean of each measure may be too high, and how many documents outside may
    stand among a question's first ten, on average."""

    measures: Mapping[str, float]
    entering: float


def near_outside(pool: Pool, queries: Rows) -> Near:
    """Return what of the outside lies nearest to each of `queries`, at their width."""
    rows = pool.outside_rows.cut(queries.dim)
    count = min(NEAR, len(rows))
    found = np.empty((len(queries), 0), np.float32)
    for _, block in rows.blocks():
        parts = []
        for start in range(0, len(queries), BLOCK_QUERIES):
            asked = queries.block(start, min(start + BLOCK_QUERIES, len(queries)))
            both = np.concatenate([found[start : start + len(asked)], asked @ block.T], axis=1)
            keep = min(count, both.shape[1])
            parts.append(np.partition(both, both.shape[1] - keep, axis=1)[:, -keep:])
        found = np.concatenate(parts)
    scores = -np.sort(-found, axis=1)
    return Near(scores.astype(np.float64), len(rows) - scores.shape[1])


def bound_missed(
    pool: Pool,
    *,
    queries: Rows,
    documents: Rows,
    ranking: Ranking,
    values: Mapping[str, Values],
    grades: npt.NDArray[np.int64],
    near: Near,
) -> Bound:
    """Return the bound for one encoder's questions on one encoder's index, as derived above.

    queries, documents: rows at one width, the documents those of the pool; ranking: (questions, 10)
    into these; values: its measures, (questions,) each; grades: (questions, 10), those of the
    documents ranked, 0 for one that is no answer; near: of the same queries.
    """
    means = {name: float(v.mean()) for name, v in values.items()}
    exact = _is_chooser(pool, documents)
    if not exact and not len(pool.drawn):
        # Without a sample nothing is known of what lies outside.
        return Bound(means, float(DEPTH))
    chance = certain if exact else chances(pool, queries, documents)
    settled = known if exact else outcome
    scores = _scores(queries, documents, ranking)
    right = grades > 0
    none = np.full(len(scores), np.inf)
    best = np.where(right.any(axis=1), np.where(right, scores, -np.inf).max(axis=1), none)
    lowest = np.where(right.any(axis=1), np.where(right, scores, np.inf).min(axis=1), none)
    drawn = _drawn_scores(pool, queries, documents)
    scale = len(pool.outside) / max(len(pool.drawn), 1)

    def passing(bar: Scores) -> Scores:
        gaps = bar[:, None] - near.scores
        expected: Scores = chance(gaps).sum(axis=1) + near.more * chance(gaps[:, -1])
        seen: Scores = scale * (drawn >= bar[:, None] - TIE).sum(axis=1)
        return np.asarray(np.maximum(expected, seen))

    weights = falls(grades, values)
    above = {"ndcg_at_10": passing(lowest)}
    above_best = passing(best)
    measures = {
        name: min(means[name], settled(w, above.get(name, above_best)))
        for name, w in weights.items()
    }
    entering = min(float(DEPTH), settled(np.ones(len(scores)), passing(scores[:, -1])))
    if ranking.shape[1] < DEPTH:  # there is room for any document outside
        entering = float(DEPTH)
    return Bound(measures, entering)


def _is_chooser(pool: Pool, documents: Rows) -> bool:
    """Return whether all vectors of the pool are the chooser's, to the bit."""
    theirs = pool.chooser.documents.take(pool.documents).cut(documents.dim)
    return all(
        np.array_equal(block, theirs.block(start, start + len(block)))
        for start, block in documents.blocks()
    )


def _scores(queries: Rows, documents: Rows, ranking: Ranking) -> Scores:
    """Return the scores of the documents ranked. Returns (questions, ten)."""
    asked = queries.block(0, len(queries)).astype(np.float64)
    found = np.empty(ranking.shape)
    for place, column in enumerate(ranking.T):
        rows = documents.take(column).block(0, len(column)).astype(np.float64)
        found[:, place] = np.einsum("ij,ij->i", asked, rows)
    return found


def _drawn_scores(pool: Pool, queries: Rows, documents: Rows) -> Scores:
    if not len(pool.drawn):
        return np.empty((len(queries), 0))
    drawn = documents.take(pool.drawn_at)
    scores: Scores = (queries.block(0, len(queries)) @ drawn.block(0, len(drawn)).T).astype(
        np.float64
    )
    return scores
