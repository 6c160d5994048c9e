"""Which questions choose between variants, which prove, and which documents they are asked of.

Chosen by the hash of their ids, so that no run and no variant can pick what suits it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from exporter.corpus.beir import Corpus

CHOOSING = 300


def by_hash(ids: Sequence[str]) -> list[int]:
    """Return all indices, in the order of their ids' SHA-256."""
    return sorted(range(len(ids)), key=lambda i: hashlib.sha256(ids[i].encode()).digest())


@dataclass(frozen=True)
class Split:
    """A corpus, and the indices of its questions that choose and of those that prove."""

    corpus: Corpus
    choosing: tuple[int, ...]
    proving: tuple[int, ...]

    def asked(self, kind: str) -> Corpus:
        """Return the corpus with the questions of a kind, `choosing` or `proving`, only."""
        kept = sorted(self.choosing if kind == "choosing" else self.proving)
        ids = tuple(self.corpus.query_ids[i] for i in kept)
        return replace(
            self.corpus,
            query_ids=ids,
            queries=tuple(self.corpus.queries[i] for i in kept),
            qrels={name: self.corpus.qrels[name] for name in ids},
        )


def split(corpus: Corpus, *, documents: int | None, choosing: int = CHOOSING) -> Split:
    """Return `corpus` with the documents that answer a question, and others up to `documents`, and
    its questions in two parts. At most half of the questions choose."""
    order = by_hash(corpus.query_ids)
    count = min(choosing, len(order) // 2)
    return Split(
        _of_documents(corpus, documents), tuple(sorted(order[:count])), tuple(sorted(order[count:]))
    )


def _of_documents(corpus: Corpus, count: int | None) -> Corpus:
    if count is None or count >= len(corpus.doc_ids):
        return corpus
    answers = {d for grades in corpus.qrels.values() for d in grades}
    order = sorted(by_hash(corpus.doc_ids), key=lambda i: corpus.doc_ids[i] not in answers)
    kept = sorted(order[: max(count, len(answers))])
    return replace(
        corpus,
        doc_ids=tuple(corpus.doc_ids[i] for i in kept),
        titles=tuple(corpus.titles[i] for i in kept),
        texts=tuple(corpus.texts[i] for i in kept),
    )


def joined(
    corpus: Corpus, count: int, sizes: Sequence[int], *, shortest: int, longest: int
) -> list[tuple[str, str]]:
    """Return `count` long texts as (title, text): neighbouring documents, joined by line breaks as
    far as they fit in lengths spread evenly from `shortest` to `longest` tokens.

    sizes: the tokens of each document.
    """
    goals = np.linspace(shortest, longest, count + 1)[1:]
    starts = np.linspace(0, len(sizes), count, endpoint=False).astype(int)
    made = []
    for start, goal in zip(starts, goals, strict=True):
        size, parts = 0, []
        for step in range(len(sizes)):
            at = (start + step) % len(sizes)
            if size + sizes[at] > goal:
                break
            size += sizes[at]
            parts.append(corpus.texts[at])
        if size >= shortest:
            made.append((corpus.titles[start], "\n".join(parts)))
    return made


def spread_over(lengths: Sequence[int], count: int, *, longest: int = 256) -> list[int]:
    """Return indices of `count` texts spread evenly over the lengths up to `longest` tokens."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    order = [i for i in order if lengths[i] <= longest] or order[:1]
    at = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [order[i] for i in at]
