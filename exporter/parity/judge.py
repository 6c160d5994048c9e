"""Limits against measurements. Every closed gate says which limit closed it."""

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.errors import BadInput
from exporter.parity.measured import Difference, Invariance, Verdict
from exporter.parity.statistics import non_inferiority
from exporter.recipe import Limits, Way

FAR_OFF = 0.5
"""Median cosine under which the artifact computes another function, not the same one coarsely."""
FP32_ROUNDING = 1e-6
"""1 - cosine of vectors that differ only in the order in which float32 was summed."""


@dataclass(frozen=True)
class Baseline:
    """What torch bf16 itself reaches in one way of deployment: the unit of every distance.

    No artifact is refused for being as near to fp32 as what its users run today.
    """

    cosine_p1: float
    overlap_at_10: float


@dataclass(frozen=True)
class MeasuredWay:
    """One way of deployment against torch fp32, at one dim.

    Cosines are of the texts that the artifact embeds in this way. `margin`: of MRR@10. `needed`:
    about how many questions would decide; `missed`, `overlap_missed`: what a pool may miss of
    MRR@10 and of overlap. `identical`: every ranking is fp32's, and so are the vectors, to
    float32's rounding.
    """

    way: Way
    cosine_p1: float
    cosine_median: float
    overlap_at_10: float
    difference: Difference
    margin: float
    needed: int | None = None
    missed: float = 0.0
    overlap_missed: float = 0.0
    identical: bool = False
    measure: str = "MRR@10"


def margin_of(limits: Limits, way: Way, *, reference: float) -> float:
    """Return how much MRR@10 may be lost in this way, where the reference has `reference`.

    Raises BadInput for a relative margin of a reference that finds nothing.
    """
    bounds = limits.of(way)
    if bounds.mrr_at_10_margin is not None:
        return bounds.mrr_at_10_margin
    assert bounds.mrr_at_10_relative_margin is not None
    if reference <= 0:
        raise BadInput(
            "a relative margin of nothing: the reference's MRR@10 is 0, so no right answer is "
            "among its first ten; check the corpus' answers, or give mrr_at_10_margin"
        )
    return bounds.mrr_at_10_relative_margin * reference


def judge_way(
    found: MeasuredWay, *, baseline: Baseline | None, limits: Limits
) -> tuple[Verdict, tuple[str, ...]]:
    """Return the verdict on one way of deployment at one dim, and the reasons where it is no pass.

    Cosine and overlap gate deterministically, the overlap less what a pool may miss of it; MRR@10
    by its interval. `baseline`: None where bf16 was not measured.
    """
    bounds, reasons = limits.of(found.way), []
    # Written so that NaN closes the gate.
    least = bounds.cosine_p1_min
    if baseline is not None:
        least = min(least, baseline.cosine_p1)
    if not found.cosine_p1 >= least:
        hint = ""
        if not found.cosine_median >= FAR_OFF:
            hint = (
                f" (median {found.cosine_median:.3f}: another function, as when a Dense, the "
                "pooling or the prompt is not the checkpoint's)"
            )
        reasons.append(
            f"cosine 1st percentile {found.cosine_p1:.6f} is under cosine_p1_min {least:.6g}{hint}"
        )
    least = bounds.overlap_at_10_min
    if baseline is not None:
        least = min(least, baseline.overlap_at_10)
    if not found.overlap_at_10 - found.overlap_missed >= least:
        less = (
            f" less {found.overlap_missed:.4f} that the pool may miss"
            if found.overlap_missed
            else ""
        )
        reasons.append(
            f"overlap@10 {found.overlap_at_10:.4f}{less} is under overlap_at_10_min {least:.4g}"
        )
    d, margin = found.difference, found.margin
    shown = f"{found.measure} {d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"
    verdict: Verdict = "pass" if found.identical else non_inferiority(d, margin=margin)
    if verdict == "fail":
        reasons.append(f"{shown} lies beyond mrr_at_10_margin {margin:.4g}")
    if reasons:
        return "fail", tuple(reasons)
    if verdict == "undecided":
        more = f"; about {found.needed:,} questions would decide" if found.needed else ""
        if found.missed:
            more = f", {found.missed:.4f} of it for what the pool may miss{more}"
        return verdict, (f"{shown} reaches past mrr_at_10_margin {margin:.4g}{more}",)
    return "pass", ()


def judge_invariance(found: Invariance, *, limits: Limits) -> tuple[str, ...]:
    """Return why an encoder whose vectors depend on their companions, or move by more than its own
    error with padding, may not be used, if so."""
    reasons = []
    worst = max(found.as_used_error, found.companions_error or 0.0, found.order_error or 0.0)
    if not worst <= limits.companions_error_max:
        reasons.append(
            f"a text's vector depends on the other texts of its batch: 1 - cosine up to "
            f"{worst:.1e} is over companions_error_max {limits.companions_error_max:.1e}"
        )
    # Every consumer pads, as its batch happens to be.
    most = max(found.own_error, limits.companions_error_max)
    if found.padding_error is not None and not found.padding_error <= most:
        reasons.append(
            f"padding moves a text's vector by up to {found.padding_error:.1e}, more than its own "
            f"error of {most:.1e} (1 - cosine)"
        )
    return tuple(reasons)


def worst_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """Return fail before undecided before pass."""
    for verdict in ("fail", "undecided"):
        if verdict in verdicts:
            return verdict
    return "pass"
