"""Everything measured at one dim: an artifact against both references, and these against each
other."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.corpus.beir import Corpus
from exporter.parity.changed import changed_answers
from exporter.parity.compare import Cosines, count_errors, row_cosines, summarize_cosines
from exporter.parity.judge import (
    FP32_ROUNDING,
    Baseline,
    MeasuredWay,
    judge_way,
    margin_of,
    worst_verdict,
)
from exporter.parity.lengths import Lengths
from exporter.parity.measured import (
    ChangedAnswer,
    CosineSummary,
    Deployment,
    Difference,
    DimResult,
    PaddedBatches,
    RankFlips,
)
from exporter.parity.pool import Pool
from exporter.parity.pool_intervals import missed_of, widened_differences, widened_overlap
from exporter.parity.rankings import Found, Rankings, mrr_difference
from exporter.parity.results import NoiseFloor, NoiseWay
from exporter.parity.statistics import (
    compare_measures,
    exact_mcnemar,
    mean_interval,
    power_of,
    questions_to_decide,
)
from exporter.recipe import Limits, Recipe, Way
from exporter.vectors.embed import Embedded, Texts
from exporter.vectors.rows import Vectors, as_rows
from exporter.vectors.search import answer_moved, first_place_changed, means, overlap

FLIP_NAMES = ("torch fp32", "torch bf16", "both", "queries", "documents")
PADDED_BATCH = 32
"""Texts a batch, the default of sentence-transformers."""
SAID: dict[Way, str] = {
    "both": "",
    "queries": "its queries on the original's index: ",
    "documents": "the original's queries on its index: ",
}


class References:
    """Both references, and their rankings computed once per dim.

    `truth` is torch fp32, which everything is compared with. `used` is torch bf16, what the user
    runs: its own distance from fp32 is the unit. Where there is a `pool`, the corpus is its part
    and every interval holds what it may miss.
    """

    def __init__(
        self,
        corpus: Corpus,
        recipe: Recipe,
        texts: Texts,
        lengths: Lengths,
        *,
        truth: Embedded,
        used: Embedded,
        pool: Pool | None = None,
    ) -> None:
        self.corpus, self.recipe, self.texts, self.lengths = corpus, recipe, texts, lengths
        self.truth, self.used = truth, used
        self.rankings = Rankings(corpus, truth=truth, pool=pool)
        self._noise: dict[int, Cosines] = {}
        self._floors: dict[int, NoiseFloor] = {}

    def judge(self, ours: Embedded, dim: int, *, scheme: str, name_changes: bool) -> DimResult:
        """Compare one artifact at one dim with the references, and judge it in each way.

        `name_changes`: record which questions get another first document, not only how many.
        Raises BadInput for a relative margin of a reference that finds nothing.
        """
        limits, truth = self.recipe.limits_for(scheme), self.rankings.of(self.truth, dim)
        ways = self.rankings.ways(ours, dim)
        cosines = row_cosines(ours.together(dim), self.truth.together(dim))
        deployments = tuple(
            self._deployment(
                way,
                found,
                dim,
                limits=limits,
                cosines=self._of_way(cosines, way),
                name_changes=name_changes,
            )
            for way, found in ways.items()
        )
        judged = [d for d in deployments if d.way in self.recipe.ways]
        cosine = self._summary(cosines)
        noise = float(1 - np.median(self._noise_cosines(dim)))
        mine, base = ways["both"].values["mrr_at_10"], truth.values["mrr_at_10"]
        used = self.rankings.of(self.used, dim)
        return DimResult(
            dim=dim,
            cosine=cosine,
            errors=count_errors(cosines),
            reference=means(truth.values),
            baseline=means(used.values),
            error_over_noise=(1 - cosine.median) / noise if noise > 0 else None,
            deployments=deployments,
            rank_flips=_rank_flips([truth, used, *ways.values()]),
            power=power_of(mine, base, margin=deployments[0].margin),
            lengths=self.lengths.buckets(
                cosines, self.texts, ours=mine, reference=base, corpus=self.corpus
            ),
            verdict=worst_verdict([d.verdict for d in judged]),
            reasons=_said_once(judged),
        )

    def _of_way(self, cosines: Cosines, way: Way) -> Cosines:
        """Return the cosines, of documents and then questions, of what is embedded in this way."""
        count = len(self.corpus.doc_ids)
        sides: dict[Way, slice] = {
            "both": slice(None),
            "queries": slice(count, None),
            "documents": slice(count),
        }
        return cosines[sides[way]]

    def _deployment(
        self,
        way: Way,
        found: Found,
        dim: int,
        *,
        limits: Limits,
        cosines: Cosines,
        name_changes: bool,
    ) -> Deployment:
        truth, used = self.rankings.of(self.truth, dim), self.rankings.of(self.used, dim)
        differences = widened_differences(
            compare_measures(found.values, truth.values), found.bound, truth.bound
        )
        shared = widened_overlap(
            mean_interval(overlap(found.ranking, truth.ranking)), found.bound, truth.bound
        )
        floor = self.noise_floor(dim).deployed(way)
        measured = self._measured(
            way,
            found,
            dim,
            limits=limits,
            cosines=cosines,
            shared=shared.mean,
            difference=differences.mrr_at_10,
        )
        verdict, reasons = judge_way(
            measured, limits=limits, baseline=Baseline(floor.cosine_p1, floor.overlap_at_10)
        )
        changed: tuple[ChangedAnswer, ...] = ()
        if name_changes:
            changed = changed_answers(found.answers, truth.answers, corpus=self.corpus)
        return Deployment(
            way=way,
            cosine_p1=measured.cosine_p1,
            cosine_median=measured.cosine_median,
            metrics=means(found.values),
            differences=differences,
            mrr_to_bf16=mrr_difference(found, used),
            margin=measured.margin,
            overlap_at_10=shared,
            first_place_changed=first_place_changed(found.ranking, truth.ranking),
            changed_answers=changed,
            mcnemar=exact_mcnemar(found.values["top_1"], truth.values["top_1"]),
            missed=missed_of(found.bound, truth.bound),
            verdict=verdict,
            reasons=reasons,
        )

    def _measured(
        self,
        way: Way,
        found: Found,
        dim: int,
        *,
        limits: Limits,
        cosines: Cosines,
        shared: float,
        difference: Difference,
    ) -> MeasuredWay:
        """Return what is judged of a ranking found in one way."""
        truth = self.rankings.of(self.truth, dim)
        mine, base = found.values["mrr_at_10"], truth.values["mrr_at_10"]
        missed = missed_of(found.bound, truth.bound)
        lost = missed.mrr_at_10 if missed else 0.0
        margin = margin_of(limits, way, reference=float(base.mean()))
        return MeasuredWay(
            way,
            float(np.percentile(cosines, 1)),
            float(np.median(cosines)),
            shared,
            difference,
            margin,
            needed=questions_to_decide(mine, base, margin=margin, missed=lost),
            missed=lost,
            overlap_missed=missed.overlap_at_10 if missed else 0.0,
            identical=not lost
            and bool(np.array_equal(found.ranking, truth.ranking))
            and bool(cosines.min() >= 1 - FP32_ROUNDING),
        )

    def judge_padded(self, ours: Embedded, padded: Vectors, *, scheme: str) -> PaddedBatches:
        """Judge questions that were embedded in padded batches, (questions, width), on the
        artifact's own index at full width, by the limits of `both`."""
        dim, limits = padded.shape[1], self.recipe.limits_for(scheme)
        documents, queries = ours.at(dim)
        asked, truth = as_rows(padded, source=ours.name), self.rankings.of(self.truth, dim)
        found = self.rankings.find(asked, documents)
        shared = mean_interval(overlap(found.ranking, truth.ranking)).mean
        difference = mrr_difference(found, truth)
        measured = self._measured(
            "both",
            found,
            dim,
            limits=limits,
            shared=shared,
            difference=difference,
            cosines=row_cosines(asked, self.truth.queries.cut(dim)),
        )
        # Of a pool not even an exact copy passes here without the test.
        measured = replace(measured, identical=measured.identical and found.bound is None)
        floor = self.noise_floor(dim)
        verdict, reasons = judge_way(
            measured,
            limits=limits,
            baseline=Baseline(
                floor.deployed("queries").cosine_p1, floor.deployed("both").overlap_at_10
            ),
        )
        return PaddedBatches(
            batch=PADDED_BATCH,
            cosine_minimum=float(row_cosines(asked, queries).min()),
            overlap_at_10=shared,
            mrr_difference=difference,
            verdict=verdict,
            reasons=tuple(f"in padded batches of {PADDED_BATCH}: {r}" for r in reasons),
        )

    def noise_floor(self, dim: int) -> NoiseFloor:
        """Compare torch bf16 with torch fp32 at one dim, in each way of deployment."""
        if dim not in self._floors:
            truth, used = self.rankings.of(self.truth, dim), self.rankings.of(self.used, dim)
            cosines = self._noise_cosines(dim)
            self._floors[dim] = NoiseFloor(
                dim=dim,
                cosine=self._summary(cosines),
                errors=count_errors(cosines),
                mrr_at_10_fp32=float(truth.values["mrr_at_10"].mean()),
                mrr_at_10_bf16=float(used.values["mrr_at_10"].mean()),
                ways=tuple(
                    NoiseWay(
                        way=way,
                        cosine_p1=float(np.percentile(self._of_way(cosines, way), 1)),
                        overlap_at_10=float(overlap(found.ranking, truth.ranking).mean()),
                        mrr_difference=mrr_difference(found, truth),
                    )
                    for way, found in self.rankings.ways(self.used, dim).items()
                ),
            )
        return self._floors[dim]

    def _summary(self, cosines: Cosines) -> CosineSummary:
        texts = self.texts
        return summarize_cosines(cosines, texts.all, ids=texts.ids, kinds=texts.kinds)

    def _noise_cosines(self, dim: int) -> Cosines:
        if dim not in self._noise:
            self._noise[dim] = row_cosines(self.used.together(dim), self.truth.together(dim))
        return self._noise[dim]


def _said_once(judged: Sequence[Deployment]) -> tuple[str, ...]:
    """Return the reasons of all ways, each with its way; what closes every way, only as the first
    has it."""
    everywhere = set.intersection(*({r.split()[0] for r in d.reasons} for d in judged))
    return tuple(
        ("" if reason.split()[0] in everywhere else SAID[d.way]) + reason
        for d in judged
        for reason in d.reasons
        if d is judged[0] or reason.split()[0] not in everywhere
    )


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
