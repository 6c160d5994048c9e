"""Character-bigram BM25, the floor a dense model has to beat. k1 1.2, b 0.75, title and text.

Robertson and Zaragoza, The Probabilistic Relevance Framework (2009).
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from exporter.corpus.beir import Corpus

K1, B = 1.2, 0.75


def bigrams(text: str) -> list[str]:
    """Return the overlapping pairs of characters."""
    return [text[i : i + 2] for i in range(len(text) - 1)]


def rank_by_bm25(corpus: Corpus, *, k: int = 10) -> npt.NDArray[np.int64]:
    """Return the k best documents of each query. (questions, k) indices, ties to the smaller id."""
    postings: dict[str, list[tuple[int, int]]] = {}
    lengths = np.zeros(len(corpus.doc_ids))
    for i, (title, text) in enumerate(zip(corpus.titles, corpus.texts, strict=True)):
        counts = Counter(bigrams(title + text))
        lengths[i] = sum(counts.values())
        for gram, count in counts.items():
            postings.setdefault(gram, []).append((i, count))
    weight = K1 * (1 - B + B * lengths / lengths.mean())
    found = [_best(_scores(q, postings, weight), k) for q in corpus.queries]
    return np.array(found, np.int64)


def _scores(
    query: str, postings: dict[str, list[tuple[int, int]]], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    scores = np.zeros(len(weight))
    for gram in set(bigrams(query)):
        entries = postings.get(gram, [])
        if not entries:
            continue
        idf = np.log(1 + (len(weight) - len(entries) + 0.5) / (len(entries) + 0.5))
        at = np.array([i for i, _ in entries])
        count = np.array([c for _, c in entries], float)
        scores[at] += idf * count * (K1 + 1) / (count + weight[at])
    return scores


def _best(scores: npt.NDArray[np.float64], k: int) -> Sequence[int]:
    return [int(i) for i in np.argsort(-scores, kind="stable")[:k]]
