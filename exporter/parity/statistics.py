"""Is the difference real? Paired bootstrap, McNemar, power, and the verdicts of non-inferiority."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from exporter.parity.records import (
    Difference,
    Differences,
    Interval,
    McNemar,
    Power,
    Verdict,
)

BLOCK_ITEMS = 4_000_000
Z_95 = 1.959964  # half-width of a two-sided 95 % interval, in standard errors
Z_80 = 0.841621  # quantile of the normal distribution at 0.8, the power asked for


def paired_difference(
    ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], *, resamples: int, seed: int
) -> Difference:
    """Return mean(ours - theirs) with its 95 % percentile bootstrap interval over questions.

    ours, theirs: (n,) in the same order. Efron and Tibshirani, An Introduction to the Bootstrap
    (1993), chapter 13; scipy.stats.bootstrap. Where all differences are equal (none at all,
    mostly), resampling cannot spread them: the interval is that value. Deterministic for a seed.
    """
    if ours.shape != theirs.shape or ours.ndim != 1 or not ours.size:
        raise ValueError(f"values are not paired: {ours.shape} and {theirs.shape}")
    found = mean_interval(ours - theirs, resamples=resamples, seed=seed)
    return Difference(mean=found.mean, low=found.low, high=found.high)


def compare_measures(
    ours: Mapping[str, npt.NDArray[np.float64]], theirs: Mapping[str, npt.NDArray[np.float64]], *,
    resamples: int, seed: int,
) -> Differences:  # fmt: skip
    """Return `paired_difference` of each measure. ours, theirs: measure -> (n,)."""
    return Differences(
        **{
            name: paired_difference(ours[name], theirs[name], resamples=resamples, seed=seed)
            for name in Differences.model_fields
        }
    )


def widened(found: Difference, *, ours: float, theirs: float) -> Difference:
    """Return the difference with its interval widened: our mean may be lower by up to `ours`, the
    reference's by up to `theirs`."""
    return Difference(
        mean=found.mean, low=max(-1.0, found.low - ours), high=min(1.0, found.high + theirs)
    )


def mean_interval(values: npt.NDArray[np.float64], *, resamples: int, seed: int) -> Interval:
    """Return the mean of `values` (n,) with its 95 % percentile bootstrap interval."""
    mean = float(values.mean())
    if np.all(values == values[0]):
        return Interval(mean=mean, low=mean, high=mean)
    result = stats.bootstrap(
        (values,), np.mean, n_resamples=resamples, method="percentile", vectorized=True,
        batch=max(1, BLOCK_ITEMS // len(values)), random_state=np.random.default_rng(seed),
    )  # fmt: skip
    interval = result.confidence_interval
    return Interval(mean=mean, low=float(interval.low), high=float(interval.high))


def exact_mcnemar(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> McNemar:
    """Return the exact McNemar test of two paired 0/1 outcomes. ours, theirs: (n,).

    Two-sided binomial test on the questions where they disagree (McNemar, Psychometrika 12, 1947;
    scipy.stats.binomtest). Without any the p-value is 1.
    """
    lost = int(((theirs == 1) & (ours != 1)).sum())
    won = int(((ours == 1) & (theirs != 1)).sum())
    p_value = 1.0 if lost + won == 0 else stats.binomtest(won, won + lost, 0.5).pvalue
    return McNemar(lost=lost, won=won, p_value=float(p_value))


def power_of(
    ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], *, margin: float
) -> Power:
    """Return what this many questions can see, judged by the spread of their differences.

    A drop d is seen where the 95 % interval lies below 0; with n questions of standard deviation s
    that happens in 80 % of comparisons for d = (1.960 + 0.842) s / sqrt(n). Where all differences
    are equal the spread is unknown; what remains is that a share of 1 - 0.05^(1/n) of all
    questions may change with none of n changing (Hanley and Lippman-Hand, JAMA 249, 1983).
    """
    difference = ours - theirs
    count = len(difference)
    spread = float(difference.std(ddof=1)) if count > 1 else 0.0
    factor = (Z_95 + Z_80) * spread
    return Power(
        questions=count,
        margin=margin,
        detectable_drop=factor / math.sqrt(count) if spread else None,
        questions_for_margin=math.ceil((factor / margin) ** 2) if spread else None,
        unseen_share=1 - 0.05 ** (1 / count),
    )


def non_inferiority(difference: Difference, *, margin: float) -> Verdict:
    """Return pass where the whole interval lies above -margin, fail where it lies below,
    undecided where -margin is inside."""
    if difference.low >= -margin:
        return "pass"
    return "fail" if difference.high < -margin else "undecided"


def questions_to_decide(
    ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], *, margin: float,
    missed: float = 0.0,
) -> int | None:  # fmt: skip
    """Return about how many questions would bring the whole interval to one side of -margin,
    were mean and spread to stay; None where the mean lies on the margin itself, or within what a
    pool may miss above it: more questions do not help there."""
    difference = ours - theirs
    room = float(difference.mean()) + margin
    if room > 0:
        room = max(0.0, room - missed)
    if abs(room) < 1e-9 or len(difference) < 2:
        return None
    needed = math.ceil((Z_95 * float(difference.std(ddof=1)) / room) ** 2)
    return max(needed, len(difference) + 1)
