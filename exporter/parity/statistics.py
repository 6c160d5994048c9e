"""Is the difference real? Paired bootstrap and the three verdicts of non-inferiority."""

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from exporter.parity.records import Difference, Verdict


def paired_difference(
    ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], *, resamples: int, seed: int
) -> Difference:
    """Return mean(ours - theirs) with its 95 % percentile bootstrap interval over questions.

    ours, theirs: (n,) in the same order. Efron and Tibshirani, An Introduction to the Bootstrap
    (1993), chapter 13; scipy.stats.bootstrap.
    """
    difference = ours - theirs
    mean = float(difference.mean())
    if np.all(difference == difference[0]):
        return Difference(mean=mean, low=mean, high=mean)
    result = stats.bootstrap(
        (difference,), np.mean, n_resamples=resamples, method="percentile", vectorized=True,
        batch=1000, random_state=np.random.default_rng(seed),
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
    """Return about how many questions would make the lower end clear -margin, were the mean and
    spread to stay; None where the mean itself is beyond the margin."""
    difference = ours - theirs
    room = float(difference.mean()) + margin
    if room <= 0 or len(difference) < 2:
        return None
    z = 1.959964
    return math.ceil((z * float(difference.std(ddof=1)) / room) ** 2)
