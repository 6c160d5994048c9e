"""Every limit closes the gate when it is broken, and says so."""

from typing import Any

import pytest

from exporter.parity.judge import judge_dim, worst_verdict
from exporter.parity.records import Difference
from exporter.recipe import Limits

LIMITS = Limits(cosine_p1_min=0.99, overlap_at_10_min=0.9, mrr_at_10_margin=0.01)
SOUND: dict[str, Any] = {
    "cosine_p1": 0.99, "overlap_at_10": 0.9, "tokens_differ": 0, "limits": LIMITS, "needed": 500,
    "difference": Difference(mean=0.0, low=-0.009, high=0.009),
}  # fmt: skip


def test_an_artifact_on_its_limits_passes() -> None:
    assert judge_dim(**SOUND) == ("pass", ())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cosine_p1": 0.9899}, "cosine_p1_min 0.99"),
        ({"cosine_p1": float("nan")}, "cosine_p1_min 0.99"),
        ({"overlap_at_10": 0.8999}, "overlap_at_10_min 0.9"),
        ({"overlap_at_10": float("nan")}, "overlap_at_10_min 0.9"),
        ({"tokens_differ": 1}, "token ids differ"),
        ({"difference": Difference(mean=-0.02, low=-0.03, high=-0.011)}, "mrr_at_10_margin 0.01"),
    ],
)
def test_a_broken_limit_closes_the_gate_and_is_named(change: dict[str, Any], named: str) -> None:
    verdict, reasons = judge_dim(**{**SOUND, **change})
    assert verdict == "fail"
    assert len(reasons) == 1
    assert named in reasons[0]


def test_an_interval_across_the_margin_is_undecided_and_says_how_many_would_decide() -> None:
    open_ = Difference(mean=-0.005, low=-0.02, high=0.01)
    verdict, reasons = judge_dim(**{**SOUND, "difference": open_})
    assert verdict == "undecided"
    assert "about 500 questions would decide" in reasons[0]


def test_a_broken_limit_outweighs_an_open_question() -> None:
    open_ = Difference(mean=-0.005, low=-0.02, high=0.01)
    verdict, reasons = judge_dim(**{**SOUND, "difference": open_, "cosine_p1": 0.5})
    assert verdict == "fail"
    assert len(reasons) == 1


def test_the_worst_verdict_counts() -> None:
    assert worst_verdict(["pass", "undecided", "fail"]) == "fail"
    assert worst_verdict(["pass", "undecided"]) == "undecided"
    assert worst_verdict(["pass", "pass"]) == "pass"
