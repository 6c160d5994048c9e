"""Limits against what artifacts find in a table whose right answers nobody has written down."""

from collections.abc import Mapping, Sequence

import numpy as np

from exporter.corpus.questions import Questions
from exporter.manifest import Manifest
from exporter.parity.compare import row_cosines, summarize_cosines
from exporter.parity.judge import (
    FP32_ROUNDING,
    Baseline,
    MeasuredWay,
    judge_way,
    margin_of,
    worst_verdict,
)
from exporter.parity.measured import RankFlips
from exporter.parity.statistics import mean_interval, paired_difference, questions_to_decide
from exporter.recipe import Recipe
from exporter.tables.judgement import (
    ChangedFirst,
    IndexArtifact,
    IndexNoise,
    IndexSearch,
    IndexVerdict,
    OriginCheck,
)
from exporter.tables.vector_table import Metric
from exporter.vectors.rows import Rows
from exporter.vectors.search import Ranking, Values, answer_moved, first_place_changed, overlap

SHOWN_CHANGES = 20


def reciprocal_ranks(found: Ranking, answers: Ranking) -> Values:
    """Return 1 / the place of each question's answer among its ten, 0 where it is not there.

    found: (q, k), answers: (q,). Returns (q,).
    """
    hits = found == answers[:, None]
    ranks: Values = np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0)
    return ranks


def agreement(a: Ranking, b: Ranking) -> Values:
    """Return (q,) 1 where the first place is the same document, else 0."""
    same: Values = (a[:, 0] == b[:, 0]).astype(np.float64)
    return same


class TableBaseline:
    """What both references find in the table, by metric. `truth`, `used`: the questions' vectors by
    torch fp32 and bf16."""

    def __init__(
        self,
        questions: Questions,
        recipe: Recipe,
        ids: Sequence[str],
        *,
        truth: Rows,
        used: Rows,
        found_truth: Mapping[Metric, Ranking],
        found_used: Mapping[Metric, Ranking],
        metrics: Sequence[Metric],
    ) -> None:
        self.questions, self.recipe, self.ids, self.truth = questions, recipe, ids, truth
        self._truth, self._used, self._metrics = found_truth, found_used, metrics
        self._noise_p1 = float(np.percentile(row_cosines(used, truth), 1))

    def noise_floor(self) -> tuple[IndexNoise, ...]:
        """Compare torch bf16 with torch fp32 on the table."""
        return tuple(
            IndexNoise(
                metric=metric,
                overlap_at_10=float(overlap(used, self._truth[metric]).mean()),
                top_1_agreement=float(agreement(used, self._truth[metric]).mean()),
                self_mrr_at_10=float(reciprocal_ranks(used, self._truth[metric][:, 0]).mean()),
            )
            for metric, used in self._used.items()
        )

    def judge(
        self,
        asked: Rows,
        found: Mapping[Metric, Ranking],
        *,
        manifest: Manifest,
        manifest_sha256: str,
    ) -> IndexArtifact:
        """Compare one artifact's queries and what they find with the references, and judge it."""
        cosines = row_cosines(asked, self.truth)
        cosine = summarize_cosines(
            cosines,
            self.questions.texts,
            ids=self.questions.ids,
            kinds=["question"] * len(self.questions.ids),
        )
        limits = self.recipe.limits_for(manifest.scheme)
        searches = []
        for metric, ranking in found.items():
            truth, used = self._truth[metric], self._used[metric]
            mine = reciprocal_ranks(ranking, truth[:, 0])
            base = reciprocal_ranks(used, truth[:, 0])
            difference = paired_difference(mine, base)
            shared = mean_interval(overlap(ranking, truth))
            margin = margin_of(limits, "queries", reference=float(base.mean()))
            measured = MeasuredWay(
                "queries",
                cosine.p1,
                cosine.median,
                shared.mean,
                difference,
                margin,
                needed=questions_to_decide(mine, base, margin=margin),
                identical=bool(np.array_equal(ranking, truth))
                and bool(cosines.min() >= 1 - FP32_ROUNDING),
                measure="self-MRR@10 against torch bf16",
            )
            verdict, reasons = judge_way(
                measured,
                limits=limits,
                baseline=Baseline(self._noise_p1, float(overlap(used, truth).mean())),
            )
            searches.append(
                IndexSearch(
                    metric=metric,
                    overlap_at_10=shared,
                    overlap_at_10_bf16=mean_interval(overlap(ranking, used)),
                    top_1_agreement=mean_interval(agreement(ranking, used)),
                    self_mrr_at_10=float(mine.mean()),
                    difference=difference,
                    rank_flips=self._flips(metric, ranking, manifest.name),
                    changed=self._changed(ranking, used),
                    judged=metric in self._metrics,
                    verdict=verdict,
                    reasons=reasons,
                )
            )
        judged = [s for s in searches if s.judged]
        reasons = _without_repetition(judged)
        return IndexArtifact(
            name=manifest.name,
            format=manifest.format,
            scheme=manifest.scheme,
            manifest_sha256=manifest_sha256,
            size_bytes=manifest.size_bytes,
            tokens_differ=0,
            cosine=cosine,
            searches=tuple(searches),
            verdict=worst_verdict([s.verdict for s in judged]),
            reasons=reasons,
        )

    def _flips(self, metric: Metric, ranking: Ranking, name: str) -> RankFlips:
        found = (self._truth[metric], self._used[metric], ranking)
        answers = self._truth[metric][:, 0]
        ranks = [reciprocal_ranks(one, answers) for one in found]
        return RankFlips(
            names=("torch fp32", "torch bf16", name),
            first_place=tuple(tuple(first_place_changed(a, b) for b in found) for a in found),
            answer_moved=tuple(tuple(answer_moved(a, b) for b in ranks) for a in ranks),
        )

    def _changed(self, ours: Ranking, theirs: Ranking) -> tuple[ChangedFirst, ...]:
        ranks = reciprocal_ranks(ours, theirs[:, 0])
        changed = np.flatnonzero(ours[:, 0] != theirs[:, 0])
        # The worst first: those whose former first document fell farthest.
        order = changed[np.argsort(ranks[changed], kind="stable")][:SHOWN_CHANGES]
        return tuple(
            ChangedFirst(
                id=self.questions.ids[i],
                question=self.questions.texts[i],
                reference=self.ids[int(theirs[i, 0])],
                artifact=self.ids[int(ours[i, 0])],
                reference_rank=round(1 / ranks[i]) if ranks[i] else None,
            )
            for i in map(int, order)
        )


def _without_repetition(searches: Sequence[IndexSearch]) -> tuple[str, ...]:
    """Return each reason once, with its metric where it does not hold for all."""
    by_reason: dict[str, list[str]] = {}
    for search in searches:
        for reason in search.reasons:
            by_reason.setdefault(reason, []).append(search.metric)
    return tuple(
        reason if len(metrics) == len(searches) else f"{', '.join(metrics)}: {reason}"
        for reason, metrics in by_reason.items()
    )


def total_verdict(
    origin: OriginCheck, artifacts: Sequence[IndexArtifact]
) -> tuple[IndexVerdict, tuple[str, ...]]:
    """Return the verdict on all, the table's origin before what was found in it, and why."""
    worst = worst_verdict([artifact.verdict for artifact in artifacts])
    reasons = origin.reasons + tuple(
        f"{a.name} {a.verdict}: {reason}" for a in artifacts for reason in a.reasons
    )
    if origin.status == "refuted" or worst == "fail":
        return "fail", reasons
    if worst == "pass" and origin.status == "unverified":
        return "unverified origin", reasons
    return worst, reasons
