"""Is the difference real? Paired bootstrap and the three verdicts of non-inferiority."""

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from exporter.parity.records import Difference, Verdict

BLOCK_ITEMS = 4_000_000
Z_95 = 1.959964  # half-width of a two-sided 95 % interval, in standard errors


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
    difference = ours - theirs
    mean = float(difference.mean())
    if np.all(difference == difference[0]):
        return Difference(mean=mean, low=mean, high=mean)
    result = stats.bootstrap(
        (difference,), np.mean, n_resamples=resamples, method="percentile", vectorized=True,
        batch=max(1, BLOCK_ITEMS // len(difference)), random_state=np.random.default_rng(seed),
    )  # fmt: skip
    interval = result.confidence_interval
    return Difference(mean=mean, low=float(interval.low), high=float(interval.high))


def non_inferiority(difference: Difference, *, margin: float) -> Verdict:
    """Return pass where the whole interval lies above -margin, fail where it lies below,
    undecided where -margin is inside."""
    if difference.low >= -margin:
        return "pass"
    return "fail" if difference.high < -margin else "undecided"


def questions_to_decide(
    ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], *, margin: float
) -> int | None:
    """Return about how many questions would bring the whole interval to one side of -margin,
    were mean and spread to stay; None where the mean lies on the margin itself."""
    difference = ours - theirs
    room = float(difference.mean()) + margin
    if abs(room) < 1e-9 or len(difference) < 2:
        return None
    needed = math.ceil((Z_95 * float(difference.std(ddof=1)) / room) ** 2)
    return max(needed, len(difference) + 1)
