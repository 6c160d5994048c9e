"""Limits against measurements. Every closed gate says which limit closed it."""

from exporter.parity.records import Difference, Verdict
from exporter.parity.statistics import non_inferiority
from exporter.recipe import Limits


def judge_dim(
    *, cosine_p1: float, overlap_at_10: float, difference: Difference, tokens_differ: int,
    limits: Limits, needed: int | None,
) -> tuple[Verdict, tuple[str, ...]]:  # fmt: skip
    """Return the verdict at one dim and the reasons for one that is not pass.

    Token ids, cosine and overlap gate deterministically; MRR@10 by its interval.
    """
    reasons = []
    if tokens_differ:
        reasons.append(f"token ids differ from the reference's in {tokens_differ:,} texts")
    # Written so that NaN closes the gate.
    if not cosine_p1 >= limits.cosine_p1_min:
        reasons.append(
            f"cosine 1st percentile {cosine_p1:.6f} is under cosine_p1_min {limits.cosine_p1_min}"
        )
    if not overlap_at_10 >= limits.overlap_at_10_min:
        reasons.append(
            f"overlap@10 {overlap_at_10:.4f} is under overlap_at_10_min {limits.overlap_at_10_min}"
        )
    retrieval = non_inferiority(difference, margin=limits.mrr_at_10_margin)
    shown = f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    if retrieval == "fail":
        reasons.append(f"MRR@10 {shown} lies beyond mrr_at_10_margin {limits.mrr_at_10_margin}")
    if reasons:
        return "fail", tuple(reasons)
    if retrieval == "undecided":
        more = f"; about {needed:,} questions would decide" if needed else ""
        return "undecided", (
            f"MRR@10 {shown} reaches past mrr_at_10_margin {limits.mrr_at_10_margin}{more}",
        )
    return "pass", ()


def worst_verdict(verdicts: list[Verdict]) -> Verdict:
    """Return fail before undecided before pass."""
    for verdict in ("fail", "undecided"):
        if verdict in verdicts:
            return verdict
    return "pass"
