"""Exact search of a table that is not ours: read once, in blocks, for every asker and metric."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput
from exporter.progress import Progress
from exporter.tables.vector_table import Metric, VectorTable
from exporter.vectors.rows import UNIT_TOLERANCE, Vectors
from exporter.vectors.search import Best, Ranking

METRICS: tuple[Metric, ...] = ("l2", "cosine")


@dataclass(frozen=True)
class TableScan:
    """What one reading of a table tells. `ids` ascend; `number[i]` says which of them row i has.

    `shortest` and `longest` are the lengths of its vectors.
    """

    ids: Sequence[str]
    number: Ranking
    shortest: float
    longest: float


def scan_table(table: VectorTable, *, progress: Progress) -> TableScan:
    """Read ids and vectors once. Raises BadInput for ids that repeat or are empty, and for vectors
    that are not finite or are zero, naming the first id."""
    ids: list[str] = []
    bad: list[str] = []
    reason = ""
    shortest, longest = np.inf, 0.0
    for named, vectors in table.vectors():
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        unusable = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
        if unusable.size:
            reason = reason or ("zero" if norms[unusable[0]] == 0 else "NaN or infinite")
            bad += [named[int(i)] for i in unusable]
        else:
            shortest, longest = min(shortest, float(norms.min())), max(longest, float(norms.max()))
        ids += named
        progress(len(named))
    if bad:
        raise BadInput(
            f"{table.where}: {len(bad):,} of {table.rows:,} vectors cannot be searched, the first "
            f"of id '{bad[0]}' ({reason}); embed these rows again, or delete them"
        )
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    ascending = [ids[i] for i in order]
    repeated = sorted({a for a, b in itertools.pairwise(ascending) if a == b})
    if repeated:
        raise BadInput(
            f"{table.where}: {len(repeated):,} ids in '{table.columns.id}' stand in several rows, "
            f"first '{repeated[0]}'; delete the stale rows, or name the column that is unique"
        )
    if ascending[0] == "":
        raise BadInput(
            f"{table.where}: a row has no id in '{table.columns.id}'; name the column that has one"
        )
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return TableScan(ascending, number, shortest, longest)


def search_table(
    table: VectorTable,
    scan: TableScan,
    queries: Mapping[str, Vectors],
    *,
    metrics: Sequence[Metric] = METRICS,
    k: int = 10,
    progress: Progress,
) -> dict[tuple[str, Metric], Ranking]:
    """Return for each asker and metric the k nearest documents of each query, exactly.

    queries: name -> (q, dim) float32 of length 1. L2 is the inner product less half the squared
    length of the document, which is carried in two more components, a float32 and what it rounded
    off; so both metrics are ranked as `retrieval.search` ranks: pairs that float32 could misplace
    are scored again in float64, ties go to the smaller id. Returns (q, min(k, n)) places in
    `scan.ids`, best first.
    """
    k = min(k, len(scan.ids))
    best = {
        # LanceDB rounds a query to the column's own type, 16 bits where that is stored.
        (name, metric): Best(_asked(vectors.astype(table.dtype).astype(np.float32), metric), k)
        for name, vectors in queries.items()
        for metric in metrics
    }
    start = 0
    for _, stored in table.vectors():
        numbers = scan.number[start : start + len(stored)]
        for metric in metrics:
            rows, longest = _documents(stored, metric)
            # A query of length 1, or 1.001 in 16 bits, with two ones behind it is sqrt(3) long.
            reach = longest * (1.01 if metric == "cosine" else 1.01 * 3**0.5)
            for name in queries:
                best[name, metric].add(rows, numbers=numbers, reach=reach)
        start += len(stored)
        progress(len(stored))
    return {key: part.documents for key, part in best.items()}


def _asked(vectors: Vectors, metric: Metric) -> Vectors:
    if metric == "cosine":
        return vectors
    return np.hstack([vectors, np.ones((len(vectors), 2), np.float32)])


def _documents(stored: Vectors, metric: Metric) -> tuple[Vectors, float]:
    """Return rows whose inner product with `_asked` ranks as the metric does, and their longest."""
    squares = np.einsum("ij,ij->i", stored, stored, dtype=np.float64)
    if metric == "cosine":
        norms = np.sqrt(squares)
        if np.abs(norms - 1).max() <= UNIT_TOLERANCE:
            return stored, 1.0
        return (stored / norms[:, None]).astype(np.float32), 1.0
    half = squares / 2
    coarse = half.astype(np.float32)
    fine = (half - coarse).astype(np.float32)
    rows: npt.NDArray[np.float32] = np.hstack([stored, -coarse[:, None], -fine[:, None]])
    return rows, float(np.sqrt(squares + half**2).max())
