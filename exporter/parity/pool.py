"""A pool of a corpus: the documents that any chooser ranks among a question's first, and a random
sample of the rest, by which what a pool can miss is bounded (`pool_missed`).

TREC's way of judging a collection too large to judge whole (Zobel, SIGIR 1998), applied to vectors:
one fast encoder and BM25 see every document, the slow encoders only those that one of them chose.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from exporter.corpus.beir import Corpus
from exporter.corpus.bm25 import rank_by_bm25
from exporter.parity.results import Pooling
from exporter.vectors.embed import Embedded, Texts
from exporter.vectors.rows import Places, Rows
from exporter.vectors.search import search

DEFAULT_FIRST = 10
"""Documents a question and chooser where pooling turns on by itself: as many as are compared, so
that the chooser's own figures are those of the whole corpus."""
SAMPLE_DOCUMENTS = 500


@dataclass(frozen=True)
class Pool:
    """`part`: the corpus cut to the pool, its hash and name the whole one's. Indices are ascending;
    `documents`, `drawn` and `outside` count in the whole corpus, `drawn_at` in the pool.

    `chooser`: the chooser's vectors of the whole corpus. `drawn`: the random sample; `outside`:
    what is not in the pool.
    """

    part: Corpus
    documents: Places
    drawn: Places
    outside: Places
    chooser: Embedded
    record: Pooling

    @property
    def drawn_at(self) -> Places:
        return np.searchsorted(self.documents, self.drawn)

    @property
    def outside_rows(self) -> Rows:
        """Return the chooser's vectors of the documents that are not in the pool."""
        return self.chooser.documents.take(self.outside)

    @property
    def drawn_rows(self) -> Rows:
        """Return the chooser's vectors of the random sample."""
        return self.chooser.documents.take(self.drawn)


def choose_pool(
    corpus: Corpus,
    texts: Texts,
    chooser: Embedded,
    *,
    first: int,
    dims: Sequence[int],
    seed: int,
    sample: int = SAMPLE_DOCUMENTS,
) -> Pool | None:
    """Return the pool of a corpus, or None where it would be the whole corpus.

    In it: the `first` documents of each question by `chooser` at each of `dims` and by BM25; every
    document that the answers name; whatever has the same text as one of these, which costs nothing
    more; and `sample` documents of the rest, drawn with `seed`. texts: of the whole corpus.
    """
    count = len(corpus.doc_ids)
    chosen = np.zeros(count, bool)
    for dim in dims:
        documents, queries = chooser.at(dim)
        chosen[search(queries, documents, k=first)] = True
    chosen[rank_by_bm25(corpus, k=first)] = True
    named = {d for answers in corpus.qrels.values() for d in answers}
    judged = np.array([identifier in named for identifier in corpus.doc_ids])
    chosen |= judged
    chosen = _with_same_text(chosen, texts)
    rest = np.flatnonzero(~chosen)
    drawn = np.sort(np.random.default_rng(seed).permutation(rest)[:sample])
    within = chosen.copy()
    within[drawn] = True
    if within.all():
        return None
    documents_in = np.flatnonzero(within)
    return Pool(
        part=part_of(corpus, documents_in),
        documents=documents_in,
        drawn=drawn,
        outside=np.flatnonzero(~within),
        chooser=chooser,
        record=Pooling(
            documents=len(documents_in),
            first=first,
            chooser=chooser.name,
            judged=int(judged.sum()),
            drawn=len(drawn),
            seed=seed,
        ),
    )


def part_of(corpus: Corpus, which: Places) -> Corpus:
    """Return the corpus with only some of its documents, all its questions and answers."""
    return replace(
        corpus,
        doc_ids=tuple(corpus.doc_ids[i] for i in which),
        titles=tuple(corpus.titles[i] for i in which),
        texts=tuple(corpus.texts[i] for i in which),
    )


def _with_same_text(chosen: npt.NDArray[np.bool_], texts: Texts) -> npt.NDArray[np.bool_]:
    rendered = texts.all[: texts.documents]
    known = {rendered[i] for i in np.flatnonzero(chosen)}
    return np.array([text in known for text in rendered])
