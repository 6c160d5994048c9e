"""Is the difference real? Intervals, McNemar, power, and the verdicts of non-inferiority."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from exporter.parity.mean_bounds import lower_bound, upper_bound
from exporter.parity.measured import Difference, Differences, Interval, McNemar, Power, Verdict

MOST_QUESTIONS = 10_000_000
"""More than that many are never asked for."""

Values = npt.NDArray[np.float64]


def paired_difference(ours: Values, theirs: Values) -> Difference:
    """Return mean(ours - theirs) with its 95 % interval over questions (`mean_bounds`).

    ours, theirs: (n,) in the same order, in [0, 1].
    """
    if ours.shape != theirs.shape or ours.ndim != 1 or not ours.size:
        raise ValueError(f"values are not paired: {ours.shape} and {theirs.shape}")
    found = mean_interval(ours - theirs, least=-1.0)
    return Difference(mean=found.mean, low=found.low, high=found.high)


def compare_measures(ours: Mapping[str, Values], theirs: Mapping[str, Values]) -> Differences:
    """Return `paired_difference` of each measure. ours, theirs: measure -> (n,)."""
    return Differences(
        **{name: paired_difference(ours[name], theirs[name]) for name in Differences.model_fields}
    )


def widened(found: Difference, *, ours: float, theirs: float) -> Difference:
    """Return the difference with its interval widened: our mean may be lower by up to `ours`, the
    reference's by up to `theirs`."""
    return Difference(
        mean=found.mean, low=max(-1.0, found.low - ours), high=min(1.0, found.high + theirs)
    )


def mean_interval(values: Values, *, least: float = 0.0) -> Interval:
    """Return the mean of `values` (n,), which lie in [least, 1], with its 95 % interval."""
    different, counts = np.unique(values, return_counts=True)
    return Interval(
        mean=float(values.mean()),
        low=lower_bound(different, counts, worst=least),
        high=upper_bound(different, counts, best=1.0),
    )


def exact_mcnemar(ours: Values, theirs: Values) -> McNemar:
    """Return the exact McNemar test of two paired 0/1 outcomes. ours, theirs: (n,).

    Two-sided binomial test on the questions where they disagree (McNemar, Psychometrika 12, 1947;
    scipy.stats.binomtest). Without any the p-value is 1.
    """
    lost = int(((theirs == 1) & (ours != 1)).sum())
    won = int(((ours == 1) & (theirs != 1)).sum())
    p_value = 1.0 if lost + won == 0 else stats.binomtest(won, won + lost, 0.5).pvalue
    return McNemar(lost=lost, won=won, p_value=float(p_value))


def least_questions(margin: float) -> int:
    """Return how many questions a margin needs where none of them changes: with fewer, so many
    others may be lost without any of these showing it (Hanley and Lippman-Hand, JAMA 249, 1983)."""
    return math.ceil(math.log(0.025) / math.log1p(-margin)) if margin < 1 else 1


def power_of(ours: Values, theirs: Values, *, margin: float) -> Power:
    """Return what this many questions can show, judged by the spread of their differences.

    `provable_margin` is how far the interval of an artifact that loses nothing on average would
    reach below zero: any smaller margin stays undecided.
    """
    difference = ours - theirs
    centred = np.clip(difference - difference.mean(), -1.0, 1.0)
    different, counts = np.unique(centred, return_counts=True)
    return Power(
        questions=len(difference),
        margin=margin,
        provable_margin=-lower_bound(different, counts, worst=-1.0),
        questions_for_margin=_questions_until(
            lambda factor: lower_bound(different, counts * factor, worst=-1.0) >= -margin,
            asked=len(difference),
        ),
    )


def non_inferiority(difference: Difference, *, margin: float) -> Verdict:
    """Return pass where the whole interval lies above -margin, fail where it lies below,
    undecided where -margin is inside."""
    if difference.low >= -margin:
        return "pass"
    return "fail" if difference.high < -margin else "undecided"


def questions_to_decide(
    ours: Values, theirs: Values, *, margin: float, missed: float = 0.0
) -> int | None:
    """Return about how many questions would bring the whole interval to one side of -margin, were
    the differences to stay as they are spread; None where the mean lies on the margin itself, or
    within what a pool may miss above it: more questions do not help there."""
    difference = ours - theirs
    room = float(difference.mean()) + margin
    if abs(room) < 1e-9 or 0 < room <= missed:
        return None
    different, counts = np.unique(difference, return_counts=True)

    def decided(factor: float) -> bool:
        if room > 0:
            return lower_bound(different, counts * factor, worst=-1.0) - missed >= -margin
        return upper_bound(different, counts * factor, best=1.0) < -margin

    return _questions_until(decided, asked=len(difference))


def _questions_until(decided: Callable[[float], bool], *, asked: int) -> int | None:
    """Return the least multiple of `asked` that decides, to 1 %; None beyond MOST_QUESTIONS."""
    low, high = 0.0, 1.0
    while not decided(high):
        low, high = high, 2 * high
        if high * asked > MOST_QUESTIONS:
            return None
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return math.ceil(high * asked)
