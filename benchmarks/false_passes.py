"""How often a verdict passes what it must not, and what it should, by simulation.

    python -m benchmarks.false_passes [--trials 1000] [--output FOLDER]

Differences of MRR@10 are drawn whose true mean lies exactly on the margin (0.01): a gate at nominal
2.5 % should pass at most that share. And such whose mean is 0, or -0.003, which it should pass.
Losses are sparse (a question in a hundred falls from first place to nothing), of two kinds, mixed
with the swaps of places that rounding makes, dense, or hidden behind rare wins. Beside the bound in
use (`exporter.parity.mean_bounds`): the percentile bootstrap, and a bound by betting, a mixture of
fixed bets (Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS B
86, 2024; arXiv 2010.09686), which is proven for every bounded difference. Writes false_passes.md.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporter.parity.mean_bounds import TAIL, lower_bound

MARGIN = 0.01
QUESTIONS = (10, 20, 60, 120, 370, 600, 1089, 5000)
RESAMPLES = 1000
BETS, SHARES = np.array([1.0, 0.8, 0.5, 0.25, 0.12]), np.array([0.4, 0.25, 0.15, 0.1, 0.1])
"""Shares of what a bettor may stake at most, and how the first capital is split over them."""

Values = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, float], Values]


def sparse(rng: np.random.Generator, count: int, mean: float) -> Values:
    """First place or nothing."""
    return -(rng.random(count) < -mean).astype(float)


def halves(rng: np.random.Generator, count: int, mean: float) -> Values:
    """First place to second."""
    return -0.5 * (rng.random(count) < -2 * mean)


def mixed(rng: np.random.Generator, count: int, mean: float) -> Values:
    """Swaps of places by rounding, either way, and now and then a lost answer."""
    u = rng.random(count)
    swaps = np.select(
        [u < 0.01, u < 0.02, u < 0.04, u < 0.06], [0.5, -0.5, 1 / 6, -1 / 6], default=0.0
    )
    return np.where(rng.random(count) < -mean, -1.0, swaps)


def dense(rng: np.random.Generator, count: int, mean: float) -> Values:
    """Every question moves a little."""
    # To hundredths, so that few are different; their mean stays.
    return np.clip(np.floor(100 * rng.normal(mean, 0.1, count) + rng.random(count)) / 100, -1, 1)


def wins(rng: np.random.Generator, count: int, mean: float) -> Values:
    """A small loss everywhere behind a rare large win."""
    share = 0.005
    return np.where(rng.random(count) < share, 1.0, (mean - share) / (1 - share))


DRAWS: dict[str, Draw] = {
    "first place to nothing": sparse,
    "first to second": halves,
    "swaps and lost answers": mixed,
    "dense": dense,
    "rare wins hide it": wins,
}


def in_use(values: Values, rng: np.random.Generator) -> bool:
    """The bound of verdicts."""
    del rng
    return lower_bound(*np.unique(values, return_counts=True), worst=-1.0) >= -MARGIN


def bootstrap(values: Values, rng: np.random.Generator) -> bool:
    """Percentile bootstrap."""
    different, counts = np.unique(values, return_counts=True)
    drawn = rng.multinomial(len(values), counts / len(values), size=RESAMPLES) @ different
    return bool(np.quantile(drawn / len(values), TAIL) >= -MARGIN)


def betting(values: Values, rng: np.random.Generator) -> bool:
    """Capital of bets against a mean of -MARGIN, from 1 to 1 / TAIL."""
    del rng
    gain = (values + MARGIN) / (1 - MARGIN)
    with np.errstate(divide="ignore"):
        capital = np.log1p(np.maximum(BETS[:, None] * gain, -1.0)).sum(axis=1) + np.log(SHARES)
    return bool(np.logaddexp.reduce(capital) >= np.log(1 / TAIL))


GATES = {"in use": in_use, "bootstrap": bootstrap, "betting": betting}


def simulate(trials: int) -> str:
    """Return the report."""
    head = "| differences | questions |" + "".join(
        f" {name}: {what} |" for what in ("false", "power at 0", "at -0.003") for name in GATES
    )
    lines = [head, "| --- | ---: |" + " ---: |" * (3 * len(GATES))]
    worst = 0.0
    for name, draw in DRAWS.items():
        for count in QUESTIONS:
            cells = []
            for mean in (-MARGIN, 0.0, -0.003):
                if mean == 0.0 and draw is wins:
                    cells += ["" for _ in GATES]
                    continue
                rng = np.random.default_rng(count)
                passed = dict.fromkeys(GATES, 0)
                for _ in range(trials if mean == -MARGIN else max(trials // 4, 1)):
                    values = draw(rng, count, mean)
                    for gate, passes in GATES.items():
                        passed[gate] += passes(values, rng)
                share = {
                    gate: n / (trials if mean == -MARGIN else max(trials // 4, 1))
                    for gate, n in passed.items()
                }
                if mean == -MARGIN:
                    worst = max(worst, share["in use"])
                cells += [f"{value:.3f}" for value in share.values()]
            lines.append(f"| {name} | {count:,} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    return "\n".join(
        [
            "# How often the gate passes a true loss on its margin",
            "",
            f"Margin {MARGIN}, nominal {TAIL:.1%}, {trials:,} draws a figure (a quarter for "
            f"power). The worst of the bound in use: {worst:.1%}.",
            "",
            *lines,
            "",
            f"- `python -m benchmarks.false_passes --trials {trials}`; it needs no model and draws "
            "the same everywhere",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "false_passes.md").write_text(simulate(given.trials) + "\n", "utf-8")


if __name__ == "__main__":
    main()
