"""Exact search and retrieval metrics."""

from collections.abc import Mapping, Sequence

import ir_measures
import numpy as np
import numpy.typing as npt
from ir_measures import RR, Success, nDCG

from exporter.parity.records import Metrics

MEASURES = {"mrr_at_10": RR @ 10, "hit_at_10": Success @ 10, "top_1": Success @ 1,
            "ndcg_at_10": nDCG @ 10}  # fmt: skip
BLOCK_SCORES = 16_000_000

Vectors = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
Ranking = npt.NDArray[np.int64]


def search(queries: Vectors, documents: Vectors, *, k: int = 10) -> Ranking:
    """Return the k nearest documents of each query by inner product, exactly.

    queries: (q, dim), documents: (n, dim), unit rows, documents in ascending order of id. Ties go
    to the smaller id. Returns (q, min(k, n)) indices, best first.
    """
    unique, place = _unique_rows(documents)
    k = min(k, len(documents))
    found = np.empty((len(queries), k), np.int64)
    block = max(1, BLOCK_SCORES // len(documents))
    for start in range(0, len(queries), block):
        scores = (queries[start : start + block] @ unique.T)[:, place]
        found[start : start + block] = top_columns(scores, k=k)
    return found


def _unique_rows(rows: Vectors) -> tuple[Vectors, Ranking]:
    # A matrix product may round equal columns differently, which would break a tie by chance:
    # equal vectors are scored once.
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    bits = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, place = np.unique(bits, return_index=True, return_inverse=True)
    return rows[first], place.reshape(-1).astype(np.int64)


def top_columns(scores: npt.NDArray[np.floating], *, k: int) -> Ranking:
    """Return the k columns of the highest scores in each row, best first, ties to the lower.

    scores: (q, n) without NaN, n >= k. Returns (q, k).
    """
    count = scores.shape[1]
    threshold = np.partition(scores, count - k, axis=1)[:, count - k]
    rows, columns = np.nonzero(scores >= threshold[:, None])
    ranked = np.lexsort((columns, -scores[rows, columns], rows))
    rows, columns = rows[ranked], columns[ranked]
    position = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return columns[position < k].reshape(len(scores), k).astype(np.int64)


def measure(
    found: Ranking, *, doc_ids: Sequence[str], query_ids: Sequence[str],
    qrels: Mapping[str, Mapping[str, int]],
) -> dict[str, Values]:  # fmt: skip
    """Return each measure for each question, in the order of `query_ids`.

    ir-measures is given the integer score k - rank: its providers break ties differently.
    """
    k = found.shape[1]
    run = [
        ir_measures.ScoredDoc(query, doc_ids[int(document)], float(k - rank))
        for query, row in zip(query_ids, found, strict=True)
        for rank, document in enumerate(row)
    ]
    judged = [
        ir_measures.Qrel(q, d, value) for q, docs in qrels.items() for d, value in docs.items()
    ]
    names = {str(measure): name for name, measure in MEASURES.items()}
    at = {query: i for i, query in enumerate(query_ids)}
    values = {name: np.zeros(len(query_ids)) for name in MEASURES}
    for metric in ir_measures.iter_calc(list(MEASURES.values()), judged, run):
        values[names[str(metric.measure)]][at[metric.query_id]] = metric.value
    return values


def means(values: Mapping[str, Values]) -> Metrics:
    """Return the mean of each measure."""
    return Metrics(**{name: float(v.mean()) for name, v in values.items()})


def overlap(a: Ranking, b: Ranking) -> float:
    """Return the mean share of documents that two result lists have in common, in [0, 1].

    a, b: (q, k) of the same questions.
    """
    return float((a[:, :, None] == b[:, None, :]).any(axis=2).mean())


def first_place_changed(a: Ranking, b: Ranking) -> int:
    """Return for how many questions the first place differs. a, b: (q, k)."""
    return int((a[:, 0] != b[:, 0]).sum())
