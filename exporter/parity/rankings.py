"""What is found at one dim: each way of deployment searched, with what a pool may miss."""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.corpus.beir import Corpus
from exporter.parity.changed import Answers
from exporter.parity.measured import Difference
from exporter.parity.pool import Pool
from exporter.parity.pool_falls import grades_of
from exporter.parity.pool_missed import Bound, Near, bound_missed, near_outside
from exporter.parity.statistics import paired_difference, widened
from exporter.recipe import Way
from exporter.vectors.embed import Embedded
from exporter.vectors.rows import Rows
from exporter.vectors.search import Ranking, Values, measure, search


@dataclass(frozen=True)
class Found:
    """A ranking (q, 10) of what was asked in an index, and its measures, each (q,).

    Where there is a pool: `near`, what of the outside lies near the questions, and `bound`, what it
    can change.
    """

    queries: Rows
    documents: Rows
    ranking: Ranking
    values: Mapping[str, Values]
    near: Near | None = None
    bound: Bound | None = None

    @property
    def answers(self) -> Answers:
        return Answers(self.queries, self.documents, self.ranking, self.values["mrr_at_10"])


class Rankings:
    """Searches of one corpus, or of the `pool` of it. `truth`: torch fp32's vectors."""

    def __init__(self, corpus: Corpus, *, truth: Embedded, pool: Pool | None) -> None:
        self.corpus, self.truth, self.pool = corpus, truth, pool
        self._found: dict[tuple[str, int], Found] = {}

    def of(self, embedded: Embedded, dim: int) -> Found:
        """Return what a reference finds in its own index, searched once per dim."""
        key = (embedded.name, dim)
        if key not in self._found:
            documents, queries = embedded.at(dim)
            self._found[key] = self.find(queries, documents)
        return self._found[key]

    def ways(self, ours: Embedded, dim: int) -> dict[Way, Found]:
        """Return what is found in each way of deployment: whose questions, whose index."""
        documents, queries = ours.at(dim)
        their_documents, their_queries = self.truth.at(dim)
        both = self.find(queries, documents)
        return {
            "both": both,
            "queries": self.find(queries, their_documents, near=both.near),
            "documents": self.find(their_queries, documents, near=self.of(self.truth, dim).near),
        }

    def find(self, queries: Rows, documents: Rows, *, near: Near | None = None) -> Found:
        """Return what `queries` find in `documents`; `near`: known already of the former."""
        c = self.corpus
        ranking = search(queries, documents)
        values = measure(ranking, doc_ids=c.doc_ids, query_ids=c.query_ids, qrels=c.qrels)
        if self.pool is None:
            return Found(queries, documents, ranking, values)
        near = near or near_outside(self.pool, queries)
        bound = bound_missed(
            self.pool,
            queries=queries,
            documents=documents,
            ranking=ranking,
            values=values,
            grades=grades_of(ranking, c),
            near=near,
        )
        return Found(queries, documents, ranking, values, near, bound)


def mrr_difference(found: Found, other: Found) -> Difference:
    """Return the difference of MRR@10, its interval wider by what a pool may miss."""
    name = "mrr_at_10"
    return widened(
        paired_difference(found.values[name], other.values[name]),
        ours=found.bound.measures[name] if found.bound else 0.0,
        theirs=other.bound.measures[name] if other.bound else 0.0,
    )
