"""Everything measured at one dim: an artifact against both references, and these against each
other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exporter.corpus.beir import Corpus
from exporter.parity.changed import Answers, changed_answers
from exporter.parity.compare import Cosines, count_errors, row_cosines, summarize_cosines
from exporter.parity.embed import Embedded, Texts
from exporter.parity.judge import Retrieval, judge_dim
from exporter.parity.lengths import Lengths
from exporter.parity.pool import Pool
from exporter.parity.pool_falls import grades_of
from exporter.parity.pool_intervals import missed_of, widened_differences, widened_overlap
from exporter.parity.pool_missed import Bound, Near, bound_missed, near_outside
from exporter.parity.records import (
    ChangedAnswer,
    CosineSummary,
    Deployment,
    DimResult,
    Interval,
    NoiseFloor,
    RankFlips,
)
from exporter.parity.retrieval import (
    Ranking,
    Values,
    answer_moved,
    first_place_changed,
    means,
    measure,
    overlap,
    search,
)
from exporter.parity.rows import Rows
from exporter.parity.statistics import (
    compare_measures,
    exact_mcnemar,
    mean_interval,
    non_inferiority,
    paired_difference,
    power_of,
    questions_to_decide,
    widened,
)
from exporter.recipe import Limits, Recipe, Way

FLIP_NAMES = ("reference", "both", "queries", "documents")


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


class Baseline:
    """The references, and their rankings computed once per dim.

    `truth` is torch fp32: cosines and overlap, which have no noise of their own to hide in, are to
    it. `used` is torch bf16, what the user runs: the measures of retrieval are compared with it.
    Where there is a `pool`, the corpus is its part and every interval holds what it may miss.
    """

    def __init__(
        self, corpus: Corpus, recipe: Recipe, texts: Texts, lengths: Lengths, *,
        truth: Embedded, used: Embedded, pool: Pool | None = None,
    ) -> None:  # fmt: skip
        self.corpus, self.recipe, self.texts, self.lengths = corpus, recipe, texts, lengths
        self.truth, self.used, self.pool = truth, used, pool
        self._found: dict[tuple[str, int], Found] = {}
        self._noise: dict[int, Cosines] = {}

    def judge(self, ours: Embedded, dim: int, *, scheme: str, name_changes: bool) -> DimResult:
        """Compare one artifact at one dim with the references, and judge it.

        `name_changes`: record which questions get another first document, not only how many.
        """
        limits = self.recipe.limits_for(scheme)
        documents, queries = ours.at(dim)
        reference_documents, reference_queries = self.used.at(dim)
        reference = self.found(self.used, dim)
        both = self._find(queries, documents)
        ways: dict[Way, Found] = {
            "both": both,
            "queries": self._find(queries, reference_documents, near=both.near),
            "documents": self._find(reference_queries, documents, near=reference.near),
        }
        deployments = tuple(
            self._deployment(way, f, dim, limits=limits, name_changes=name_changes)
            for way, f in ways.items()
        )
        cosines = row_cosines(ours.together(dim), self.truth.together(dim))
        cosine = self._summary(cosines)
        base = reference.values["mrr_at_10"]
        verdict, reasons = judge_dim(
            cosine_p1=cosine.p1, cosine_median=cosine.median,
            overlap_at_10=deployments[0].overlap_at_10.mean,
            overlap_missed=deployments[0].missed.overlap_at_10 if deployments[0].missed else 0.0,
            limits=limits,
            retrieval=[
                Retrieval(
                    way, d.differences.mrr_at_10,
                    questions_to_decide(
                        ways[way].values["mrr_at_10"], base, margin=limits.mrr_at_10_margin,
                        missed=d.missed.mrr_at_10 if d.missed else 0.0,
                    ),
                    missed=d.missed.mrr_at_10 if d.missed else 0.0,
                )
                for way, d in zip(ways, deployments, strict=True)
                if way in self.recipe.ways
            ],
        )  # fmt: skip
        noise = float(1 - np.median(self._noise_cosines(dim)))
        mine = ways["both"].values["mrr_at_10"]
        return DimResult(
            dim=dim, cosine=cosine, errors=count_errors(cosines), reference=means(reference.values),
            error_over_noise=(1 - cosine.median) / noise if noise > 0 else None,
            deployments=deployments, rank_flips=_rank_flips([reference, *ways.values()]),
            power=power_of(mine, base, margin=limits.mrr_at_10_margin),
            lengths=self.lengths.buckets(
                cosines, self.texts, ours=mine, reference=base, corpus=self.corpus
            ),
            verdict=verdict, reasons=reasons,
        )  # fmt: skip

    def _deployment(
        self, way: Way, found: Found, dim: int, *, limits: Limits, name_changes: bool
    ) -> Deployment:  # fmt: skip
        reference, truth = self.found(self.used, dim), self.found(self.truth, dim)
        options = {"resamples": self.recipe.bootstrap_resamples, "seed": self.recipe.seed}
        differences = widened_differences(
            compare_measures(found.values, reference.values, **options),
            found.bound, reference.bound,
        )  # fmt: skip

        def shared(other: Found) -> Interval:
            lists = mean_interval(overlap(found.ranking, other.ranking), **options)
            return widened_overlap(lists, found.bound, other.bound)

        changed: tuple[ChangedAnswer, ...] = ()
        if name_changes:
            changed = changed_answers(found.answers, reference.answers, corpus=self.corpus)
        return Deployment(
            way=way, metrics=means(found.values), differences=differences,
            overlap_at_10=shared(truth), overlap_at_10_bf16=shared(reference),
            first_place_changed=first_place_changed(found.ranking, reference.ranking),
            changed_answers=changed,
            mcnemar=exact_mcnemar(found.values["top_1"], reference.values["top_1"]),
            missed=missed_of(found.bound, reference.bound, truth.bound),
            verdict=non_inferiority(differences.mrr_at_10, margin=limits.mrr_at_10_margin),
        )  # fmt: skip

    def noise_floor(self, dim: int) -> NoiseFloor:
        """Compare torch bf16 with torch fp32 at one dim."""
        truth, used = self.found(self.truth, dim), self.found(self.used, dim)
        return NoiseFloor(
            dim=dim,
            cosine=self._summary(self._noise_cosines(dim)),
            errors=count_errors(self._noise_cosines(dim)),
            mrr_at_10_fp32=float(truth.values["mrr_at_10"].mean()),
            mrr_at_10_bf16=float(used.values["mrr_at_10"].mean()),
            mrr_difference=widened(
                paired_difference(
                    used.values["mrr_at_10"], truth.values["mrr_at_10"],
                    resamples=self.recipe.bootstrap_resamples, seed=self.recipe.seed,
                ),
                ours=used.bound.measures["mrr_at_10"] if used.bound else 0.0,
                theirs=truth.bound.measures["mrr_at_10"] if truth.bound else 0.0,
            ),
            overlap_at_10=float(overlap(used.ranking, truth.ranking).mean()),
        )  # fmt: skip

    def found(self, of: Embedded, dim: int) -> Found:
        """Return what a reference finds in its own index, searched once per dim."""
        key = (of.name, dim)
        if key not in self._found:
            documents, queries = of.at(dim)
            self._found[key] = self._find(queries, documents)
        return self._found[key]

    def _find(self, queries: Rows, documents: Rows, *, near: Near | None = None) -> Found:
        c = self.corpus
        ranking = search(queries, documents)
        values = measure(ranking, doc_ids=c.doc_ids, query_ids=c.query_ids, qrels=c.qrels)
        if self.pool is None:
            return Found(queries, documents, ranking, values)
        near = near or near_outside(self.pool, queries)
        bound = bound_missed(
            self.pool, queries=queries, documents=documents, ranking=ranking, values=values,
            grades=grades_of(ranking, c), near=near,
        )  # fmt: skip
        return Found(queries, documents, ranking, values, near, bound)

    def _summary(self, cosines: Cosines) -> CosineSummary:
        texts = self.texts
        return summarize_cosines(cosines, texts.all, ids=texts.ids, kinds=texts.kinds)

    def _noise_cosines(self, dim: int) -> Cosines:
        if dim not in self._noise:
            self._noise[dim] = row_cosines(self.used.together(dim), self.truth.together(dim))
        return self._noise[dim]


def _rank_flips(found: Sequence[Found]) -> RankFlips:
    return RankFlips(
        names=FLIP_NAMES,
        first_place=tuple(
            tuple(first_place_changed(a.ranking, b.ranking) for b in found) for a in found
        ),
        answer_moved=tuple(
            tuple(answer_moved(a.values["mrr_at_10"], b.values["mrr_at_10"]) for b in found)
            for a in found
        ),
    )
