"""Questions that get another first document than from the bf16 reference, and by how little."""

from dataclasses import dataclass

import numpy as np

from exporter.corpus.beir import Corpus
from exporter.parity.measured import ChangedAnswer
from exporter.vectors.rows import Rows
from exporter.vectors.search import Ranking, Values

SHOWN = 8
"""A report for people: the count of all of them stands beside these."""


@dataclass(frozen=True)
class Answers:
    """What one encoder found. queries, documents: what was searched, and in what; ranking: (q, 10);
    reciprocal: (q,), of the right answer's rank, 0 where it is not among the ten."""

    queries: Rows
    documents: Rows
    ranking: Ranking
    reciprocal: Values


def changed_answers(
    ours: Answers, reference: Answers, *, corpus: Corpus
) -> tuple[ChangedAnswer, ...]:
    """Return the most telling changes of first place: right answers lost, then won, then those of
    the widest gap between the two documents. A near tie says little."""
    changed = np.flatnonzero(ours.ranking[:, 0] != reference.ranking[:, 0])
    found = [_compare(int(q), ours, reference, corpus) for q in changed]
    return tuple(sorted(found, key=_telling)[:SHOWN])


def _telling(change: ChangedAnswer) -> tuple[int, float, str]:
    order = 0 if change.reference_rank == 1 else 1 if change.our_rank == 1 else 2
    return order, -change.our_gap - change.reference_gap, change.question


def _compare(q: int, ours: Answers, reference: Answers, corpus: Corpus) -> ChangedAnswer:
    mine, theirs = int(ours.ranking[q, 0]), int(reference.ranking[q, 0])
    return ChangedAnswer(
        question=corpus.query_ids[q],
        reference_first=corpus.doc_ids[theirs],
        our_first=corpus.doc_ids[mine],
        reference_rank=_rank(reference.reciprocal[q]),
        our_rank=_rank(ours.reciprocal[q]),
        reference_gap=_gap(reference, q, theirs, mine),
        our_gap=_gap(ours, q, mine, theirs),
    )


def _rank(reciprocal: float) -> int | None:
    return round(1 / reciprocal) if reciprocal > 0 else None


def _gap(of: Answers, q: int, first: int, other: int) -> float:
    """Return by how much `first` scores above `other` for question `q`; never below 0."""
    asked = of.queries.take(np.array([q])).block(0, 1)[0].astype(np.float64)
    pair = of.documents.take(np.array([first, other])).block(0, 2).astype(np.float64)
    return max(0.0, float((pair[0] - pair[1]) @ asked))
