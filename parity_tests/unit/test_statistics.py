"""Intervals and the three verdicts."""

import numpy as np
import pytest

from exporter.parity.records import Difference
from exporter.parity.statistics import (
    compare_measures,
    exact_mcnemar,
    mean_interval,
    non_inferiority,
    paired_difference,
    power_of,
    questions_to_decide,
)


def interval(ours: np.ndarray, theirs: np.ndarray, *, seed: int = 0) -> Difference:
    return paired_difference(ours, theirs, resamples=10_000, seed=seed)


def test_no_difference_at_all_has_the_interval_zero_to_zero() -> None:
    values = np.array([1.0, 0.5, 0.0, 1.0])
    assert interval(values, values) == Difference(mean=0.0, low=0.0, high=0.0)


def test_the_interval_agrees_with_the_normal_one_for_many_questions() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.random(2000)
    ours = theirs + rng.normal(-0.01, 0.1, 2000)
    found = interval(ours, theirs)
    error = 1.96 * (ours - theirs).std(ddof=1) / np.sqrt(2000)
    assert found.mean == pytest.approx((ours - theirs).mean())
    assert found.low == pytest.approx(found.mean - error, abs=error / 10)
    assert found.high == pytest.approx(found.mean + error, abs=error / 10)


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        differences = rng.normal(0.02, 0.1, 120)
        found = paired_difference(differences, np.zeros(120), resamples=1_000, seed=trial)
        covered += found.low <= 0.02 <= found.high
    assert 0.90 <= covered / 200 <= 0.99


def test_pairing_takes_out_what_is_hard_for_both() -> None:
    rng = np.random.default_rng(3)
    theirs = rng.random(300)
    found = interval(theirs - 0.001 * rng.random(300), theirs)
    assert found.high - found.low < 0.0002


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(4)
    ours, theirs = rng.random(50), rng.random(50)
    assert interval(ours, theirs) == interval(ours, theirs)
    assert interval(ours, theirs) != interval(ours, theirs, seed=1)


def test_unpaired_values_are_a_defect() -> None:
    with pytest.raises(ValueError, match="not paired"):
        interval(np.ones(3), np.ones(4))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.005, 0.004, "pass"),
        (0.001, 0.02, "pass"),
        (0.0, 0.0, "pass"),
        (-0.02, 0.005, "undecided"),
        (-0.03, -0.005, "undecided"),
        (-0.03, -0.011, "fail"),
    ],
)
def test_the_verdict_follows_the_interval(low: float, high: float, verdict: str) -> None:
    difference = Difference(mean=(low + high) / 2, low=low, high=high)
    assert non_inferiority(difference, margin=0.01) == verdict


@pytest.mark.parametrize("mean", [-0.004, -0.02])
def test_as_many_questions_as_are_said_to_decide_do_decide(mean: float) -> None:
    rng = np.random.default_rng(5)

    def sample(count: int) -> np.ndarray:
        values = rng.normal(0, 0.1, count)
        return (values - values.mean()) / values.std(ddof=1) * 0.1 + mean

    few = sample(120)
    assert non_inferiority(interval(few, np.zeros(120)), margin=0.01) == "undecided"
    needed = questions_to_decide(few, np.zeros(120), margin=0.01)
    assert needed is not None
    many = sample(int(needed * 1.1))
    decided = non_inferiority(interval(many, np.zeros(len(many))), margin=0.01)
    assert decided == ("pass" if mean > -0.01 else "fail")


def test_a_mean_on_the_margin_is_decided_by_no_number_of_questions() -> None:
    ours = np.array([-0.02, 0.0])
    assert questions_to_decide(ours, np.zeros(2), margin=0.01) is None


def test_mcnemar_counts_only_the_questions_that_differ() -> None:
    theirs = np.array([1.0] * 9 + [0.0] * 1 + [1.0, 0.0] * 20)
    ours = np.array([0.0] * 9 + [1.0] * 1 + [1.0, 0.0] * 20)
    found = exact_mcnemar(ours, theirs)
    assert (found.lost, found.won) == (9, 1)
    # 2 * (C(10, 0) + C(10, 1)) / 2^10
    assert found.p_value == pytest.approx(22 / 1024)
    assert exact_mcnemar(theirs, theirs).p_value == 1.0


def test_the_drop_said_to_be_detectable_is_found_in_four_of_five_comparisons() -> None:
    rng = np.random.default_rng(6)
    sample = rng.normal(0, 0.1, 120)
    power = power_of(sample, np.zeros(120), margin=0.01)
    assert power.detectable_drop is not None
    assert power.questions_for_margin is not None
    spread = sample.std(ddof=1)
    for drop, count in ((power.detectable_drop, 120), (0.01, power.questions_for_margin)):
        trials = rng.normal(-drop, spread, (2000, count))
        high = trials.mean(1) + 1.96 * trials.std(1, ddof=1) / np.sqrt(count)
        assert (high < 0).mean() == pytest.approx(0.8, abs=0.03)


def test_no_difference_on_a_few_questions_proves_little() -> None:
    power = power_of(np.ones(120), np.ones(120), margin=0.01)
    assert power.detectable_drop is power.questions_for_margin is None
    # (1 - share)^120 = 5 %: the rule of three, 3 / 120, nearly.
    assert power.unseen_share == pytest.approx(0.0247, abs=1e-4)
    assert power_of(np.ones(1), np.zeros(1), margin=0.01).detectable_drop is None


def test_each_measure_is_compared_by_itself_and_an_interval_holds_its_mean() -> None:
    rng = np.random.default_rng(7)
    names = ("mrr_at_10", "hit_at_10", "top_1", "ndcg_at_10")
    ours = {name: rng.random(80) for name in names}
    theirs = {name: ours[name] + 0.1 * i for i, name in enumerate(names)}
    found = compare_measures(ours, theirs, resamples=1_000, seed=0)
    assert [getattr(found, name).mean for name in names] == pytest.approx([0, -0.1, -0.2, -0.3])
    whole = mean_interval(ours["mrr_at_10"], resamples=1_000, seed=0)
    assert whole.low < whole.mean < whole.high
