"""Character-bigram BM25: the floor that a dense model has to beat, and a chooser of documents that
knows nothing of the model. k1 1.2, b 0.75, title and text.

Robertson and Zaragoza, The Probabilistic Relevance Framework (2009). Bigrams need no word
segmentation, which Chinese would (Nie et al., IRAL 2000).
"""

from array import array
from collections import Counter

import numpy as np
import numpy.typing as npt

from exporter.corpus.beir import Corpus

K1, B = 1.2, 0.75


def bigrams(text: str) -> list[str]:
    """Return the overlapping pairs of characters."""
    return [text[i : i + 2] for i in range(len(text) - 1)]


def rank_by_bm25(corpus: Corpus, *, k: int = 10) -> npt.NDArray[np.int64]:
    """Return the k best documents of each query. (questions, min(k, n)) indices, ties to the
    smaller id."""
    # Only what is asked for is counted: a corpus has far more bigrams than its questions.
    asked = {gram for query in corpus.queries for gram in bigrams(query)}
    documents = {gram: array("q") for gram in asked}
    counted = {gram: array("d") for gram in asked}
    lengths = np.zeros(len(corpus.doc_ids))
    for i, (title, text) in enumerate(zip(corpus.titles, corpus.texts, strict=True)):
        grams = bigrams(title + text)
        lengths[i] = len(grams)
        for gram, count in Counter(grams).items():
            if gram in asked:
                documents[gram].append(i)
                counted[gram].append(count)
    weight = K1 * (1 - B + B * lengths / max(lengths.mean(), 1))
    found = np.empty((len(corpus.queries), min(k, len(lengths))), np.int64)
    for number, query in enumerate(corpus.queries):
        scores = np.zeros(len(lengths))
        for gram in sorted(set(bigrams(query))):
            at = np.array(documents[gram])
            counts = np.array(counted[gram])
            if len(at):
                idf = np.log(1 + (len(lengths) - len(at) + 0.5) / (len(at) + 0.5))
                scores[at] += idf * counts * (K1 + 1) / (counts + weight[at])
        found[number] = np.argsort(-scores, kind="stable")[: found.shape[1]]
    return found
