"""Every limit closes the gate when it is broken, and says so."""

from typing import Any

import pytest

from exporter.parity.judge import Retrieval, judge_dim, judge_invariance, worst_verdict
from exporter.parity.records import Difference, Invariance
from exporter.recipe import Limits

LIMITS = Limits(cosine_p1_min=0.99, overlap_at_10_min=0.9, mrr_at_10_margin=0.01)
SOUND: dict[str, Any] = {
    "cosine_p1": 0.99, "cosine_median": 0.999, "overlap_at_10": 0.9,
    "limits": LIMITS, "retrieval": [],
}  # fmt: skip
FINE = Difference(mean=0.0, low=-0.009, high=0.009)
OPEN = Difference(mean=-0.005, low=-0.02, high=0.01)
WORSE = Difference(mean=-0.02, low=-0.03, high=-0.011)


def ways(
    both: Difference = FINE, queries: Difference = FINE, documents: Difference = FINE
) -> list[Retrieval]:
    return [Retrieval("both", both, 500), Retrieval("queries", queries, 600),
            Retrieval("documents", documents, None)]  # fmt: skip


SOUND["retrieval"] = ways()


def test_an_artifact_on_its_limits_passes() -> None:
    assert judge_dim(**SOUND) == ("pass", ())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cosine_p1": 0.9899}, "cosine_p1_min 0.99"),
        ({"cosine_p1": float("nan")}, "cosine_p1_min 0.99"),
        ({"overlap_at_10": 0.8999}, "overlap_at_10_min 0.9"),
        ({"overlap_at_10": float("nan")}, "overlap_at_10_min 0.9"),
        ({"retrieval": ways(both=WORSE)}, "mrr_at_10_margin 0.01"),
        ({"retrieval": ways(queries=WORSE)}, "its queries on the reference's index: MRR@10 -0.02"),
        ({"retrieval": ways(documents=WORSE)}, "the reference's queries on its index: MRR@10"),
    ],
)
def test_a_broken_limit_closes_the_gate_and_is_named(change: dict[str, Any], named: str) -> None:
    verdict, reasons = judge_dim(**{**SOUND, **change})
    assert verdict == "fail"
    assert len(reasons) == 1
    assert named in reasons[0]


def test_an_interval_across_the_margin_is_undecided_and_says_how_many_would_decide() -> None:
    verdict, reasons = judge_dim(**{**SOUND, "retrieval": ways(both=OPEN)})
    assert verdict == "undecided"
    assert "about 500 questions would decide" in reasons[0]


def test_a_broken_limit_outweighs_an_open_question() -> None:
    verdict, reasons = judge_dim(**{**SOUND, "retrieval": ways(both=OPEN), "cosine_p1": 0.5})
    assert verdict == "fail"
    assert len(reasons) == 1


def test_each_way_of_deployment_that_is_open_is_named() -> None:
    verdict, reasons = judge_dim(**{**SOUND, "retrieval": ways(queries=OPEN, documents=OPEN)})
    assert verdict == "undecided"
    assert ["600 questions" in r for r in reasons] == [True, False]


def test_another_function_altogether_is_said_to_be_one() -> None:
    _, reasons = judge_dim(**{**SOUND, "cosine_p1": -0.1, "cosine_median": 0.02})
    assert "as when a Dense, the pooling or the prompt is not the checkpoint's" in reasons[0]


def invariance(**errors: float | None) -> Invariance:
    counts = dict.fromkeys(Invariance.model_fields, 0)
    none = {"companions_error": None, "order_error": None, "left_padding_error": None}
    return Invariance.model_validate({**counts, **none, **errors})


@pytest.mark.parametrize("name", ["as_used_error", "companions_error", "order_error"])
def test_a_vector_that_depends_on_its_companions_closes_the_gate(name: str) -> None:
    assert judge_invariance(invariance(**{name: 1e-6}), limits=LIMITS) == ()
    (reason,) = judge_invariance(invariance(**{name: 1.1e-6}), limits=LIMITS)
    assert "companions_error_max 1.0e-06" in reason


def test_padding_and_threads_are_reported_and_not_judged() -> None:
    found = invariance(padding_error=0.1, left_padding_error=0.2, threads_error=0.1)
    assert judge_invariance(found, limits=LIMITS) == ()


def test_the_worst_verdict_counts() -> None:
    assert worst_verdict(["pass", "undecided", "fail"]) == "fail"
    assert worst_verdict(["pass", "undecided"]) == "undecided"
    assert worst_verdict(["pass", "pass"]) == "pass"
