"""Bounds for the mean of bounded values that hold where values are rare and large.

A question that falls from the first place to nothing weighs 1, and may be one in a hundred: where
none of them was asked, a bootstrap has no width at all. Gaffke's bound has. Add the worst possible
value to the n that were seen, and weigh all n + 1 at random, uniformly over all weights that add up
to one (a Dirichlet of ones): the weighted mean's 2.5 % quantile is the lower bound.

For values of two kinds it is Clopper and Pearson's bound, which is exact. In general its level is a
conjecture that no example is known to break: Gaffke, Three test statistics for a nonparametric
one-sided hypothesis on the mean of a nonnegative variable (Mathematical Methods of Statistics 14,
2005); Learned-Miller and Thomas, A new confidence interval for the mean of a bounded random
variable (arXiv 1905.06208, 2019). `benchmarks.false_passes` measures the level on losses of
many shapes, beside the bootstrap's and that of a bound by betting, which is proven and wider.

The quantile is computed, not drawn. A Dirichlet's weights are independent gamma variables over
their sum, so the weighted mean is at most t where the sum of gamma_i (x_i - t) is at most 0, whose
chance follows from the characteristic function (Gil-Pelaez, Biometrika 38, 1951).
"""

import numpy as np
import numpy.typing as npt
from scipy import optimize

TAIL = 0.025
POINTS = 600
"""Steps of the integral, even in the logarithm; a third of them gives the same six digits."""
VANISHED = -30.0
"""Logarithm of the characteristic function's size from which on it counts no more."""

Values = npt.NDArray[np.float64]


def lower_bound(values: Values, counts: npt.NDArray[np.number], *, worst: float) -> float:
    """Return what the mean is not below, with 97.5 % confidence.

    values: (k,) different ones, ascending, none below `worst`; counts: (k,) how often each was
    seen. Counts need not be whole: multiples ask what more of the same would show.
    """
    scale = max(1.0, abs(worst))
    if values[-1] - worst <= 1e-12 * scale:
        return worst
    points = np.append(values, worst)
    weights = np.append(np.asarray(counts, np.float64), 1.0)
    low = worst + 1e-12 * scale
    if _chance(points - low, weights) > TAIL:
        return worst
    found = optimize.brentq(
        lambda t: _chance(points - t, weights) - TAIL, low, float(values[-1]), xtol=1e-9
    )
    return float(found)


def upper_bound(values: Values, counts: npt.NDArray[np.number], *, best: float) -> float:
    """Return what the mean is not above, with 97.5 % confidence. See `lower_bound`."""
    return -lower_bound(-values[::-1], counts[::-1], worst=-best)


def _chance(factors: Values, shapes: Values) -> float:
    """Return the chance that a sum of gamma variables (of `shapes`, scale 1) times `factors` is at
    most 0."""
    kept = factors != 0
    a, c = factors[kept], shapes[kept]
    if not (a < 0).any():
        return 0.0
    if not (a > 0).any():
        return 1.0

    def log_size(log_u: float) -> float:
        return float(-0.5 * (c * np.log1p((np.exp(log_u) * a) ** 2)).sum())

    start = float(np.log(1e-10 / (np.abs(a) * c).sum()))
    stop = start
    while log_size(stop) > VANISHED:
        stop += 4.0
    stop = float(optimize.brentq(lambda at: log_size(at) - VANISHED, stop - 4.0, stop))
    log_u = np.linspace(start, stop, POINTS)
    scaled = np.exp(log_u)[None, :] * a[:, None]
    size = np.exp(-0.5 * (c[:, None] * np.log1p(scaled**2)).sum(axis=0))
    phase = (c[:, None] * np.arctan(scaled)).sum(axis=0)
    return float(0.5 - np.trapezoid(size * np.sin(phase), log_u) / np.pi)
