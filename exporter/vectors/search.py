"""Exact search and retrieval metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np
import numpy.typing as npt
from ir_measures import RR, Success, nDCG

from exporter.errors import BadInput
from exporter.records import Record
from exporter.vectors.rows import Rows, Vectors, as_rows


class Metrics(Record):
    """Means over the questions."""

    mrr_at_10: float
    hit_at_10: float
    top_1: float
    ndcg_at_10: float


MEASURES = {
    "mrr_at_10": RR @ 10,
    "hit_at_10": Success @ 10,
    "top_1": Success @ 1,
    "ndcg_at_10": nDCG @ 10,
}
BLOCK_QUERIES = 1024
RESCORED_PAIRS = 16_384
"""How many pairs are scored in float64 at a time: 2 x 100 MB at 768 components."""

Values = npt.NDArray[np.float64]
Ranking = npt.NDArray[np.int64]


def search(queries: Vectors | Rows, documents: Vectors | Rows, *, k: int = 10) -> Ranking:
    """Return the k nearest documents of each query by inner product, exactly.

    queries: (q, dim), documents: (n, dim), rows of length 1, documents in ascending order of id.
    A matrix product in float32 finds the candidates, block by block; all that its rounding could
    have misplaced are scored again in float64, each pair by itself. So equal vectors tie exactly,
    wherever they lie, ties go to the smaller id, and scores 1e-9 apart are told apart.
    Returns (q, min(k, n)) indices, best first. Raises BadInput where widths differ or a row is
    zero or not finite.
    """
    asked, rows = as_rows(queries, source="queries"), as_rows(documents, source="documents")
    if asked.dim != rows.dim:
        raise BadInput(
            f"{asked.source} has {asked.dim} dimensions, {rows.source} has {rows.dim}; "
            "they cannot be searched together"
        )
    k = min(k, len(rows))
    parts = [
        Best(asked.block(start, min(start + BLOCK_QUERIES, len(asked))), k)
        for start in range(0, len(asked), BLOCK_QUERIES)
    ]
    for start, block in rows.blocks():
        for part in parts:
            part.add(block, numbers=np.arange(start, start + len(block)))
    if not parts:
        return np.empty((0, k), np.int64)
    return np.concatenate([part.documents for part in parts])


@dataclass
class Best:
    """The best k documents so far of each query, by inner product. queries: (q, dim) float32."""

    queries: Vectors
    k: int

    def __post_init__(self) -> None:
        count, dim = self.queries.shape
        self.scores: Values = np.empty((count, 0))
        self.documents: Ranking = np.empty((count, 0), np.int64)
        # A float32 product of dim terms is off by at most dim * 2^-24 for rows of length 1
        # (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1); two of them may be.
        self.slack, self._reach = np.float32(2 * dim * 2.0**-24), np.float32(1)

    def add(self, block: Vectors, *, numbers: Ranking, reach: float = 1.0) -> None:
        """Take in documents (n, dim) known by `numbers`, (n,); among equals the smaller is first.

        `reach`: the largest length of a query times that of a document, here.
        """
        self._reach = np.float32(reach)
        rough = self.queries @ block.T
        # flatnonzero and divmod take a third of nonzero's time on two axes.
        rows, columns = divmod(np.flatnonzero(self._candidates(rough)), rough.shape[1])
        scores = np.empty(len(rows))
        for at in range(0, len(rows), RESCORED_PAIRS):
            pick = slice(at, at + RESCORED_PAIRS)
            pairs = self.queries[rows[pick]].astype(np.float64) * block[columns[pick]]
            scores[pick] = pairs.sum(axis=1)
        kept = self.scores.shape[1]
        count = len(self.queries)
        rows = np.concatenate([np.repeat(np.arange(count), kept), rows])
        scores = np.concatenate([self.scores.ravel(), scores])
        documents = np.concatenate([self.documents.ravel(), numbers[columns]])
        order = np.lexsort((documents, -scores, rows))
        rows, scores, documents = rows[order], scores[order], documents[order]
        best = np.arange(len(rows)) - np.searchsorted(rows, rows) < self.k
        self.scores = scores[best].reshape(count, -1)
        self.documents = documents[best].reshape(count, -1)

    def _candidates(self, rough: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Return which pairs of (q, n) rough scores may be among the k best so far."""
        count, n = rough.shape
        slack = self.slack * self._reach
        floor = np.full(count, -np.inf, np.float32)
        if self.scores.shape[1] == self.k:
            floor = self.scores[:, -1].astype(np.float32)
            mask: npt.NDArray[np.bool_] = rough >= (floor - slack)[:, None]
            if np.count_nonzero(mask) <= 4 * count * self.k:
                return mask
        if n > self.k:
            # Many are better than before: only the k best of this block need a second look.
            here = np.partition(rough, n - self.k, axis=1)[:, n - self.k]
            floor = np.maximum(floor, here)
        return rough >= (floor - slack)[:, None]


def measure(
    found: Ranking,
    *,
    doc_ids: Sequence[str],
    query_ids: Sequence[str],
    qrels: Mapping[str, Mapping[str, int]],
) -> dict[str, Values]:
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


def overlap(a: Ranking, b: Ranking) -> Values:
    """Return for each question the share of documents that two result lists have in common.

    a, b: (q, k) of the same questions. Returns (q,) in [0, 1].
    """
    shared: Values = (a[:, :, None] == b[:, None, :]).any(axis=2).mean(axis=1)
    return shared


def first_place_changed(a: Ranking, b: Ranking) -> int:
    """Return for how many questions the first place differs. a, b: (q, k)."""
    return int((a[:, 0] != b[:, 0]).sum())


def answer_moved(a: Values, b: Values) -> int:
    """Return for how many questions the right answer's place among the ten differs.

    a, b: (q,) reciprocal ranks of the same questions, 0 where it is not among the ten.
    """
    return int((a != b).sum())
