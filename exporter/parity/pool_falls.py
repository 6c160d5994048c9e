"""What documents above the right answers cost: steps 1 and 5 of the derivation in `pool_missed`."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from exporter.corpus.beir import Corpus
from exporter.vectors.search import Ranking, Values

DEPTH = 10
CONFIDENCE = 0.95


def grades_of(ranking: Ranking, corpus: Corpus) -> npt.NDArray[np.int64]:
    """Return the grades of the documents ranked, 0 where one is no answer. Same shape."""
    return np.array(
        [
            [max(0, corpus.qrels[query].get(corpus.doc_ids[int(d)], 0)) for d in row]
            for query, row in zip(corpus.query_ids, ranking, strict=True)
        ],
        np.int64,
    )


def falls(grades: npt.NDArray[np.int64], values: Mapping[str, Values]) -> dict[str, Values]:
    """Return for each measure and question the most that one document above the right answers can
    cost: the largest (f(0) - f(m)) / m. grades: (questions, ten)."""
    places = np.arange(1, DEPTH + 1)
    grades = np.pad(grades, ((0, 0), (0, DEPTH - grades.shape[1])))
    right = grades > 0
    first = np.where(right.any(axis=1), right.argmax(axis=1) + 1, DEPTH + 1)
    left = np.maximum(DEPTH + 1 - first, 1)  # documents that push it out of the ten
    found = first <= DEPTH
    discount = 1 / np.log2(places + 1)
    one = 1 - np.append(discount[1:], 0) / discount
    share = np.maximum(one, 1 / (DEPTH + 1 - places))
    gains = grades * discount
    total = np.where(found, gains.sum(axis=1), 1)
    reciprocal = np.maximum(1 / first - 1 / (first + 1), 1 / (first * left))
    lost = (gains * share).sum(axis=1) / total
    return {
        "mrr_at_10": np.where(found, reciprocal, 0),
        "hit_at_10": np.where(found, 1 / left, 0),
        "top_1": np.where(first == 1, 1.0, 0.0),
        "ndcg_at_10": values["ndcg_at_10"] * np.where(found, lost, 0),
    }


def known(weights: Values, counted: Values) -> float:
    """Return the mean fall over the questions where passings were counted, not expected."""
    return float((weights * counted).mean())


def outcome(weights: Values, expected: Values) -> float:
    """Return the mean over the questions that their falls do not exceed at 95 %: step 5.

    weights, expected: (questions,), the fall for each passing, and how many are expected.
    """
    mean = float((weights * expected).sum())
    counted = expected[weights > 0].sum()
    largest, level = float(weights.max(initial=0)), math.log(1 / (1 - CONFIDENCE))
    first = largest * level / 3
    spread = 2 * level * float((weights**2 * expected).sum())
    bernstein = mean + first + math.sqrt(first**2 + spread)
    poisson = largest * float(stats.poisson.ppf(CONFIDENCE, counted))
    return max(mean, min(bernstein, poisson)) / len(weights)
