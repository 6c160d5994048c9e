"""Widths chosen for every tensor so that the vector's error is least within so many bytes.

A knapsack with one choice a tensor, solved by dynamic programming over bytes: the errors of
different tensors are independent of each other and small, so 1 - cosine adds up.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exporter.errors import BadInput

Errors = Mapping[str, Mapping[str, float]]
"""1 - cosine that each width of each tensor costs the final vector."""
Sizes = Mapping[str, Mapping[str, int]]
"""Bytes of each width of each tensor."""

STEPS = 100_000
"""Into so many parts the bytes are counted: each tensor wastes at most one."""


@dataclass(frozen=True)
class Chosen:
    """A width for every tensor. `reasons`: why, for the manifest, by tensor; `error`: 1 - cosine
    that all of them cost together, as predicted."""

    widths: Mapping[str, str]
    reasons: Mapping[str, str]
    error: float

    def summary(self, budget: int) -> str:
        """Return what was chosen in one line."""
        counts = Counter(self.widths.values()).most_common()
        parts = ", ".join(f"{count} x {width}" for width, count in counts)
        return (
            f"widths chosen for {budget / 1e6:,.1f} MB by the error of the vector on calibration "
            f"texts, {self.error:.1e} predicted in all: {parts}"
        )


def check_budget(budget: int, fixed: int, sizes: Sizes) -> None:
    """Raise BadInput, naming the least, where the narrowest widths are too many bytes. `fixed`: the
    bytes of all that has no choice."""
    least = fixed + sum(min(widths.values()) for widths in sizes.values())
    if budget < least:
        raise BadInput(
            f"--budget {budget / 1e6:.4g}MB is below the least, {np.ceil(least / 1e5) / 10:,.1f}MB"
            "; raise it, or cut the vocabulary (--vocabulary)"
        )


def choose(budget: int, *, fixed: int, sizes: Sizes, errors: Errors) -> Chosen:
    """Return the widths with the least sum of errors whose bytes stay within `budget`.

    `fixed`: the bytes of all that has no choice. Deterministic. Raises BadInput as `check_budget`.
    """
    check_budget(budget, fixed, sizes)
    least = {name: min(widths.values()) for name, widths in sizes.items()}
    spare = budget - fixed - sum(least.values())
    most = sum(max(widths.values()) - least[name] for name, widths in sizes.items())
    unit = max(1, -(-min(spare, most) // STEPS))
    room = min(spare // unit, most // unit + len(sizes))
    best = np.zeros(room + 1)
    taken: list[np.ndarray[tuple[int], np.dtype[np.int8]]] = []
    options = {name: _useful(sizes[name], errors[name]) for name in sizes}
    for name, widths in options.items():
        found = np.full(room + 1, np.inf)
        at = np.zeros(room + 1, np.int8)
        for number, width in enumerate(widths):
            cost = -(-(sizes[name][width] - least[name]) // unit)
            if cost > room:
                continue
            total = best[: room + 1 - cost] + errors[name][width]
            better = total < found[cost:]
            found[cost:][better] = total[better]
            at[cost:][better] = number
        best = found
        taken.append(at)
    left, widths_of = room, {}
    for name, at in zip(reversed(list(options)), reversed(taken), strict=True):
        width = options[name][at[left]]
        widths_of[name] = width
        left -= -(-(sizes[name][width] - least[name]) // unit)
    return chosen_of({name: widths_of[name] for name in sizes}, sizes=sizes, errors=errors)


def chosen_of(widths: Mapping[str, str], *, sizes: Sizes, errors: Errors) -> Chosen:
    """Return the record of widths that were chosen, whoever chose them."""
    return Chosen(
        widths,
        {
            name: _reason(errors[name], width, _useful(sizes[name], errors[name]))
            for name, width in widths.items()
        },
        float(sum(errors[name][width] for name, width in widths.items())),
    )


def _useful(sizes: Mapping[str, int], errors: Mapping[str, float]) -> list[str]:
    """Return the widths that no other beats in both, smallest first."""
    made: list[str] = []
    for width in sorted(sizes, key=lambda width: (sizes[width], errors[width])):
        if not made or errors[width] < errors[made[-1]]:
            made.append(width)
    return made


def _reason(errors: Mapping[str, float], width: str, widths: list[str]) -> str:
    """Return what the width costs the vector, and what its neighbours would."""
    if width not in widths:  # another is smaller and better
        return f"budget: costs the vector {errors[width]:.1e}"
    at = widths.index(width)
    others = [widths[i] for i in (at - 1, at + 1) if 0 <= i < len(widths)]
    against = ", ".join(f"{errors[other]:.1e} with {other}" for other in others)
    return f"budget: costs the vector {errors[width]:.1e}" + (f", {against}" if against else "")
