"""Intervals and the three verdicts."""

import numpy as np
import pytest
from scipy import stats

from exporter.parity.mean_bounds import lower_bound
from exporter.parity.measured import Difference
from exporter.parity.statistics import (
    compare_measures,
    exact_mcnemar,
    least_questions,
    mean_interval,
    non_inferiority,
    paired_difference,
    power_of,
    questions_to_decide,
)


def interval(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    return paired_difference(ours, theirs)


def test_no_difference_at_all_has_the_width_of_what_was_not_asked() -> None:
    found = interval(np.ones(370), np.ones(370))
    assert found.mean == 0.0
    # With one question in a hundred lost, 2.5 % of samples of 367 show none.
    assert (found.low, found.high) == pytest.approx((-0.00992, 0.00992), abs=1e-5)


@pytest.mark.parametrize(("asked", "lost"), [(1, 0), (10, 3), (120, 0), (1089, 2), (5000, 50)])
def test_losses_of_one_kind_have_the_interval_of_clopper_and_pearson(asked: int, lost: int) -> None:
    values = (np.arange(asked) >= lost).astype(float)
    found = mean_interval(values)
    exact = stats.binomtest(asked - lost, asked).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_the_bound_is_the_quantile_that_drawn_weights_have() -> None:
    rng = np.random.default_rng(0)
    seen = rng.choice([-1, -0.5, 0.0, 0.5], 300, p=[0.004, 0.05, 0.9, 0.046])
    values, counts = np.unique(seen, return_counts=True)
    weights = rng.exponential(size=(20_000, 301))
    drawn = (weights @ np.append(seen, -1.0)) / weights.sum(axis=1)
    assert lower_bound(values, counts, worst=-1.0) == pytest.approx(
        np.quantile(drawn, 0.025), abs=5e-4
    )


def test_torch_bf16_itself_passes_nearly_always_at_1089_questions() -> None:
    """Its differences to fp32 on google/embeddinggemma-300m, 789 questions: standard deviation
    0.032, most of it a right answer that goes from first place to second, or back."""
    rng = np.random.default_rng(10)
    swaps = [0.5, -0.5, 1 / 6, -1 / 6, 0.0]
    passed = 0
    for _ in range(300):
        drawn = rng.choice(swaps, 1089, p=[0.0018, 0.0018, 0.002, 0.002, 0.9924])
        passed += non_inferiority(interval(drawn, np.zeros(1089)), margin=0.01) == "pass"
    assert passed >= 0.99 * 300


def test_what_is_as_bad_as_can_be_has_no_better_bound() -> None:
    assert mean_interval(np.zeros(20)).low == 0.0
    assert mean_interval(np.ones(20)).high == 1.0
    assert interval(np.zeros(20), np.ones(20)).low == -1.0


@pytest.mark.parametrize("asked", [20, 120, 1089])
def test_a_true_loss_on_the_margin_passes_as_seldom_as_it_should(asked: int) -> None:
    rng = np.random.default_rng(9)
    passed = 0
    for _ in range(400):
        ours = (rng.random(asked) >= 0.01).astype(float)  # one in a hundred falls to nothing
        passed += non_inferiority(interval(ours, np.ones(asked)), margin=0.01) == "pass"
    assert passed / 400 <= 0.035


def test_the_interval_agrees_with_the_normal_one_for_many_questions() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.random(2000)
    ours = theirs + rng.normal(-0.01, 0.1, 2000)
    found = interval(ours, theirs)
    error = 1.96 * (ours - theirs).std(ddof=1) / np.sqrt(2000)
    assert found.mean == pytest.approx((ours - theirs).mean())
    # Wider by less than the one more question that went as badly as can be.
    assert 0 < found.mean - error - found.low < 0.0008
    assert 0 < found.high - found.mean - error < 0.0008


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        differences = rng.normal(0.02, 0.1, 120)
        found = interval(differences, np.zeros(120))
        covered += found.low <= 0.02 <= found.high
    assert covered / 200 >= 0.93


def test_pairing_takes_out_what_is_hard_for_both() -> None:
    rng = np.random.default_rng(3)
    theirs = rng.random(300)
    found = interval(theirs - 0.001 * rng.random(300), theirs)
    # Next to nothing beside the two questions that were not asked.
    assert found.high - found.low < 2 * 3.7 / 300


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


def test_the_margin_said_to_be_provable_is_where_the_verdict_turns() -> None:
    rng = np.random.default_rng(6)
    sample = rng.normal(0, 0.1, 400)
    power = power_of(sample, np.zeros(400), margin=0.01)
    even = sample - sample.mean()
    for factor, verdict in ((1.01, "pass"), (0.99, "undecided")):
        found = interval(even, np.zeros(400))
        assert non_inferiority(found, margin=factor * power.provable_margin) == verdict


def test_no_difference_on_a_few_questions_proves_little() -> None:
    power = power_of(np.ones(120), np.ones(120), margin=0.01)
    assert power.provable_margin == pytest.approx(0.0303, abs=1e-4)
    assert power.questions_for_margin == pytest.approx(least_questions(0.01), rel=0.02) == 368


def test_so_few_questions_cannot_prove_a_margin_whatever_they_show() -> None:
    assert least_questions(0.01) == 368
    assert non_inferiority(interval(np.ones(367), np.ones(367)), margin=0.01) == "undecided"
    assert non_inferiority(interval(np.ones(368), np.ones(368)), margin=0.01) == "pass"


def test_each_measure_is_compared_by_itself_and_an_interval_holds_its_mean() -> None:
    rng = np.random.default_rng(7)
    names = ("mrr_at_10", "hit_at_10", "top_1", "ndcg_at_10")
    ours = {name: rng.random(80) for name in names}
    theirs = {name: ours[name] + 0.1 * i for i, name in enumerate(names)}
    found = compare_measures(ours, theirs)
    assert [getattr(found, name).mean for name in names] == pytest.approx([0, -0.1, -0.2, -0.3])
    whole = mean_interval(ours["mrr_at_10"])
    assert whole.low < whole.mean < whole.high
