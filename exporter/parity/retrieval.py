"""Exact search and retrieval metrics."""

from collections.abc import Sequence

import ir_measures
import numpy as np
import numpy.typing as npt
from ir_measures import RR, Success, nDCG

from exporter.parity.records import Metrics

MEASURES = {"mrr_at_10": RR @ 10, "hit_at_10": Success @ 10, "top_1": Success @ 1,
            "ndcg_at_10": nDCG @ 10}  # fmt: skip
BLOCK = 256


def search(
    queries: npt.NDArray[np.float32], documents: npt.NDArray[np.float32], *, k: int = 10
) -> npt.NDArray[np.int64]:
    """Return the k nearest documents of each query by inner product, exactly.

    queries: (q, dim), documents: (n, dim), unit rows, documents in ascending order of id. Ties go
    to the smaller id. Returns (q, min(k, n)) indices, best first.
    """
    k = min(k, len(documents))
    found = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), BLOCK):
        scores = queries[start : start + BLOCK] @ documents.T
        for i, row in enumerate(scores):
            least = np.partition(row, len(row) - k)[len(row) - k]
            candidates = np.flatnonzero(row >= least)
            order = np.argsort(-row[candidates], kind="stable")[:k]
            found[start + i] = candidates[order]
    return found


def measure(
    found: npt.NDArray[np.int64], *, doc_ids: Sequence[str], query_ids: Sequence[str],
    qrels: dict[str, dict[str, int]],
) -> dict[str, npt.NDArray[np.float64]]:  # fmt: skip
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


def means(values: dict[str, npt.NDArray[np.float64]]) -> Metrics:
    """Return the mean of each measure."""
    return Metrics(**{name: float(v.mean()) for name, v in values.items()})


def overlap(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> float:
    """Return the mean share of documents that two result lists have in common, in [0, 1]."""
    shared = [len(set(x) & set(y)) / len(x) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    return float(np.mean(shared))
