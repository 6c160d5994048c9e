"""Limits against measurements. Every closed gate says which limit closed it."""

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.parity.records import Difference, Invariance, Verdict
from exporter.parity.statistics import non_inferiority
from exporter.recipe import Limits, Way

WAYS: dict[Way, str] = {
    "both": "",
    "queries": "its queries on the reference's index: ",
    "documents": "the reference's queries on its index: ",
}
FAR_OFF = 0.5
"""Median cosine under which the artifact computes another function, not the same one coarsely."""


@dataclass(frozen=True)
class Retrieval:
    """MRR@10 of one way of deployment; `needed`: about how many questions would decide; `missed`:
    how much of the interval's lower side is there because a pool may miss documents."""

    way: Way
    difference: Difference
    needed: int | None
    missed: float = 0.0


def judge_dim(
    *, cosine_p1: float, cosine_median: float, overlap_at_10: float,
    retrieval: Sequence[Retrieval], limits: Limits, overlap_missed: float = 0.0,
) -> tuple[Verdict, tuple[str, ...]]:  # fmt: skip
    """Return the verdict at one dim and the reasons for one that is not pass.

    Cosine and overlap gate deterministically, the overlap less what a pool may miss of it
    (`overlap_missed`); MRR@10 by its interval, in each way of deployment given.
    """
    reasons = []
    # Written so that NaN closes the gate.
    if not cosine_p1 >= limits.cosine_p1_min:
        hint = ""
        if not cosine_median >= FAR_OFF:
            hint = (f" (median {cosine_median:.3f}: another function, as when a Dense, the pooling "
                    "or the prompt is not the checkpoint's)")  # fmt: skip
        reasons.append(
            f"cosine 1st percentile {cosine_p1:.6f} is under cosine_p1_min "
            f"{limits.cosine_p1_min}{hint}"
        )
    if not overlap_at_10 - overlap_missed >= limits.overlap_at_10_min:
        less = f" less {overlap_missed:.4f} that the pool may miss" if overlap_missed else ""
        reasons.append(
            f"overlap@10 {overlap_at_10:.4f}{less} is under overlap_at_10_min "
            f"{limits.overlap_at_10_min}"
        )
    open_questions = []
    for way in retrieval:
        d, margin = way.difference, limits.mrr_at_10_margin
        shown = f"{WAYS[way.way]}MRR@10 {d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"
        verdict = non_inferiority(d, margin=margin)
        if verdict == "fail":
            reasons.append(f"{shown} lies beyond mrr_at_10_margin {margin}")
        elif verdict == "undecided":
            more = f"; about {way.needed:,} questions would decide" if way.needed else ""
            if way.missed:
                more = f", {way.missed:.4f} of it for what the pool may miss{more}"
            open_questions.append(f"{shown} reaches past mrr_at_10_margin {margin}{more}")
    if reasons:
        return "fail", tuple(reasons)
    if open_questions:
        return "undecided", tuple(open_questions)
    return "pass", ()


def judge_invariance(found: Invariance, *, limits: Limits) -> tuple[str, ...]:
    """Return why an encoder whose vectors depend on their companions may not be used, if so."""
    worst = max(found.as_used_error, found.companions_error or 0.0, found.order_error or 0.0)
    if worst <= limits.companions_error_max:
        return ()
    return (
        f"a text's vector depends on the other texts of its batch: 1 - cosine up to {worst:.1e} is "
        f"over companions_error_max {limits.companions_error_max:.1e}",
    )


def worst_verdict(verdicts: list[Verdict]) -> Verdict:
    """Return fail before undecided before pass."""
    for verdict in ("fail", "undecided"):
        if verdict in verdicts:
            return verdict
    return "pass"
