"""Every limit closes the gate when it is broken, and says so."""

from typing import Any

import pytest

from exporter.errors import BadInput
from exporter.parity.judge import (
    Baseline,
    MeasuredWay,
    judge_invariance,
    judge_way,
    margin_of,
    worst_verdict,
)
from exporter.parity.measured import Difference, Invariance
from exporter.recipe import Bounds, Limits

LIMITS = Limits(cosine_p1_min=0.99, overlap_at_10_min=0.9, mrr_at_10_margin=0.01)
FINE = Difference(mean=0.0, low=-0.009, high=0.009)
OPEN = Difference(mean=-0.005, low=-0.02, high=0.01)
WORSE = Difference(mean=-0.02, low=-0.03, high=-0.011)
SOUND: dict[str, Any] = {
    "way": "both",
    "cosine_p1": 0.99,
    "cosine_median": 0.999,
    "overlap_at_10": 0.9,
    "difference": FINE,
    "margin": 0.01,
    "needed": 500,
}


def judged(
    *, limits: Limits = LIMITS, baseline: Baseline | None = None, **change: Any
) -> tuple[str, tuple[str, ...]]:
    return judge_way(MeasuredWay(**{**SOUND, **change}), limits=limits, baseline=baseline)


def test_an_artifact_on_its_limits_passes() -> None:
    assert judged() == ("pass", ())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cosine_p1": 0.9899}, "cosine_p1_min 0.99"),
        ({"cosine_p1": float("nan")}, "cosine_p1_min 0.99"),
        ({"overlap_at_10": 0.8999}, "overlap_at_10_min 0.9"),
        ({"overlap_at_10": float("nan")}, "overlap_at_10_min 0.9"),
        ({"difference": WORSE}, "MRR@10 -0.0200 [-0.0300, -0.0110] lies beyond"),
    ],
)
def test_a_broken_limit_closes_the_gate_and_is_named(change: dict[str, Any], named: str) -> None:
    verdict, reasons = judged(**change)
    assert verdict == "fail"
    assert len(reasons) == 1
    assert named in reasons[0]


def test_an_interval_across_the_margin_is_undecided_and_says_how_many_would_decide() -> None:
    verdict, reasons = judged(difference=OPEN)
    assert verdict == "undecided"
    assert "about 500 questions would decide" in reasons[0]
    assert "would decide" not in judged(difference=OPEN, needed=None)[1][0]


def test_a_broken_limit_outweighs_an_open_question() -> None:
    verdict, reasons = judged(difference=OPEN, cosine_p1=0.5)
    assert verdict == "fail"
    assert len(reasons) == 1


def test_an_exact_copy_passes_however_few_the_questions() -> None:
    assert judged(difference=OPEN, identical=True) == ("pass", ())
    # And yet not past another limit.
    assert judged(identical=True, cosine_p1=0.5)[0] == "fail"


def test_what_is_as_near_as_torch_bf16_is_not_refused_for_it() -> None:
    far = {"cosine_p1": 0.98, "overlap_at_10": 0.8}
    assert judged(**far, baseline=Baseline(0.98, 0.8)) == ("pass", ())
    verdict, reasons = judged(**far, baseline=Baseline(0.981, 0.81))
    assert verdict == "fail"
    assert ("cosine_p1_min 0.981" in reasons[0], "overlap_at_10_min 0.81" in reasons[1]) == (
        True,
        True,
    )
    # A baseline better than the limit asks for no more than the limit.
    assert judged(baseline=Baseline(0.9999, 0.99)) == ("pass", ())


def test_a_way_may_have_limits_of_its_own() -> None:
    strict = Limits(
        cosine_p1_min=0.99,
        overlap_at_10_min=0.9,
        mrr_at_10_margin=0.01,
        queries=Bounds(overlap_at_10_min=0.95, mrr_at_10_margin=0.005),
    )
    assert judged(limits=strict) == ("pass", ())
    assert judged(limits=strict, way="queries")[0] == "fail"
    assert margin_of(strict, "both", reference=0.5) == 0.01
    assert margin_of(strict, "queries", reference=0.5) == 0.005


def test_a_relative_margin_is_a_share_of_the_references_own() -> None:
    relative = Limits(cosine_p1_min=0.99, overlap_at_10_min=0.9, mrr_at_10_relative_margin=0.02)
    assert margin_of(relative, "both", reference=0.265) == pytest.approx(0.0053)
    with pytest.raises(BadInput, match="the reference's MRR@10 is 0"):
        margin_of(relative, "both", reference=0.0)


def test_another_function_altogether_is_said_to_be_one() -> None:
    _, reasons = judged(cosine_p1=-0.1, cosine_median=0.02)
    assert "as when a Dense, the pooling or the prompt is not the checkpoint's" in reasons[0]


def invariance(**errors: float | None) -> Invariance:
    counts = dict.fromkeys(Invariance.model_fields, 0)
    none = dict.fromkeys(("companions_error", "order_error", "padding_error", "left_padding_error"))
    return Invariance.model_validate({**counts, **none, **errors})


@pytest.mark.parametrize("name", ["as_used_error", "companions_error", "order_error"])
def test_a_vector_that_depends_on_its_companions_closes_the_gate(name: str) -> None:
    assert judge_invariance(invariance(**{name: 1e-6}), limits=LIMITS) == ()
    (reason,) = judge_invariance(invariance(**{name: 1.1e-6}), limits=LIMITS)
    assert "companions_error_max 1.0e-06" in reason


def test_padding_that_moves_a_vector_by_more_than_its_own_error_closes_the_gate() -> None:
    assert judge_invariance(invariance(own_error=1e-4, padding_error=1e-4), limits=LIMITS) == ()
    (reason,) = judge_invariance(invariance(own_error=1e-4, padding_error=1.1e-4), limits=LIMITS)
    assert "padding moves a text's vector by up to 1.1e-04, more than its own error" in reason
    # An exact artifact may move by what rounding in float32 does.
    assert judge_invariance(invariance(own_error=0.0, padding_error=1e-6), limits=LIMITS) == ()


def test_padding_on_the_left_and_threads_are_reported_and_not_judged() -> None:
    found = invariance(left_padding_error=0.2, threads_error=0.1)
    assert judge_invariance(found, limits=LIMITS) == ()


def test_the_worst_verdict_counts() -> None:
    assert worst_verdict(["pass", "undecided", "fail"]) == "fail"
    assert worst_verdict(["pass", "undecided"]) == "undecided"
    assert worst_verdict(["pass", "pass"]) == "pass"
