"""What a table's approximate index gives, beside exact search of the same table."""

from collections.abc import Mapping, Sequence

import numpy as np

from exporter.parity.statistics import mean_interval
from exporter.progress import Stages
from exporter.tables.judgement import ApproximateIndex, ApproximateSearch
from exporter.tables.search import METRICS, TableScan
from exporter.tables.vector_table import Metric, VectorIndex, VectorTable
from exporter.vectors.rows import Vectors
from exporter.vectors.search import Ranking, overlap

NOTHING = -1
"""Fills a list that the index left short; it is no document."""


def measure_approximate(
    table: VectorTable,
    scan: TableScan,
    queries: Mapping[str, Vectors],
    exact: Mapping[tuple[str, Metric], Ranking],
    *,
    names: Mapping[str, str],
    reference: str,
    nprobes: int | None,
    refine_factor: int | None,
    stages: Stages,
) -> tuple[ApproximateIndex, ...]:
    """Search through each approximate index of the table, as an application does.

    queries: asker -> (q, dim); `exact`: what search_table found for them; `names`: askers as they
    are shown. Each is compared with its own exact list (the index's recall) and with what
    `reference` gets through the same index.
    """
    measured = []
    for index in table.vector_indexes():
        metric = next((m for m in METRICS if m == index.distance), None)
        searches: list[ApproximateSearch] = []
        if metric is not None:
            number = {name: i for i, name in enumerate(scan.ids)}
            progress = stages(f"{table.name}: {index.kind}", len(queries))
            found = {}
            for name, vectors in queries.items():
                lists = table.search(
                    vectors, metric=metric, nprobes=nprobes, refine_factor=refine_factor
                )
                found[name] = _ranking(lists, number, k=exact[name, metric].shape[1])
                progress(1)
            base = found[reference]
            searches = [
                ApproximateSearch(
                    name=names[name],
                    recall_at_10=mean_interval(overlap(exact[name, metric], ranking)),
                    overlap_at_10=mean_interval(_shared(ranking, base)),
                    top_1_agreement=mean_interval((ranking[:, 0] == base[:, 0]).astype(np.float64)),
                )
                for name, ranking in found.items()
            ]
        measured.append(_record(index, searches, nprobes=nprobes, refine_factor=refine_factor))
    return tuple(measured)


def _ranking(lists: Sequence[Sequence[str]], number: Mapping[str, int], *, k: int) -> Ranking:
    found = np.full((len(lists), k), NOTHING, np.int64)
    for at, ids in enumerate(lists):
        found[at, : len(ids)] = [number[name] for name in ids[:k]]
    return found


def _shared(ours: Ranking, theirs: Ranking) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the share of `theirs` that `ours` has; places left empty count for neither."""
    hits = ((ours[:, :, None] == theirs[:, None, :]) & (theirs[:, None, :] != NOTHING)).any(axis=1)
    share: np.ndarray[tuple[int], np.dtype[np.float64]] = hits.sum(axis=1) / np.maximum(
        (theirs != NOTHING).sum(axis=1), 1
    )
    return share


def _record(
    index: VectorIndex,
    searches: Sequence[ApproximateSearch],
    *,
    nprobes: int | None,
    refine_factor: int | None,
) -> ApproximateIndex:
    return ApproximateIndex(
        name=index.name,
        kind=index.kind,
        distance=index.distance,
        unindexed_rows=index.unindexed_rows,
        nprobes=nprobes,
        refine_factor=refine_factor,
        searches=tuple(searches),
    )
