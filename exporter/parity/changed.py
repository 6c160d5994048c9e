"""Questions whose first document changed, with what a reader needs to judge them."""

import numpy as np

from exporter.parity.corpus import Corpus
from exporter.parity.records import ChangedAnswer, FoundDocument
from exporter.parity.retrieval import Ranking

SHOWN_CHANGES = 10
EXCERPT = 160  # characters of a document


def changed_answers(ours: Ranking, reference: Ranking, corpus: Corpus) -> tuple[ChangedAnswer, ...]:
    """Return the questions whose first documents differ, those whose right answer fell farthest
    first. ours, reference: (questions, k) indices of documents."""
    different = np.flatnonzero(ours[:, 0] != reference[:, 0]).tolist()
    rows = [(q, _rank(ours[q], q, corpus), _rank(reference[q], q, corpus)) for q in different]
    beyond = ours.shape[1] + 1
    rows.sort(key=lambda row: ((row[2] or beyond) - (row[1] or beyond), row[0]))
    return tuple(
        ChangedAnswer(
            id=corpus.query_ids[q], question=corpus.queries[q],
            reference=_document(int(reference[q, 0]), corpus, rank=before),
            ours=_document(int(ours[q, 0]), corpus, rank=now),
        )
        for q, now, before in rows[:SHOWN_CHANGES]
    )  # fmt: skip


def _rank(found: Ranking, question: int, corpus: Corpus) -> int | None:
    right = corpus.qrels[corpus.query_ids[question]]
    places = (i for i, d in enumerate(found, start=1) if right.get(corpus.doc_ids[int(d)], 0) > 0)
    return next(places, None)


def _document(at: int, corpus: Corpus, *, rank: int | None) -> FoundDocument:
    text = corpus.texts[at]
    return FoundDocument(
        id=corpus.doc_ids[at], title=corpus.titles[at], rank=rank,
        text=text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…",
    )  # fmt: skip
