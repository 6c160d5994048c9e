"""Weights rounded so that their errors compensate each other: GPTQ (https://arxiv.org/abs/2210.17323).

The grid of a matrix (its scales and offsets) is fixed first, so that columns may be rounded in the
order of how much their input weighs; the error of each is spread over the columns still to come.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from exporter.quantization.functions import torch_module
from exporter.quantization.pairs import PAIR_LIMIT

COLUMNS = 128  # columns treated before their error is spread over the rest
DAMPING = 0.01  # of the mean diagonal, added to the Hessian


@dataclass(frozen=True)
class Grid:
    """The values that a matrix' weights may take: scale * code - offset.

    scale, offset: (rows, groups) torch float32, offset None for zeros; group: (columns,) int64,
    the group of each column; codes are whole numbers from `low` to `high`, or, where `levels`
    (ascending, (high + 1,) float32) is given, stand for levels[code]. `pairs`: no two neighbours
    (0 and 1, 2 and 3, ...) add up to more than `PAIR_LIMIT` in magnitude.
    """

    scale: Any
    group: Any
    low: int
    high: int
    offset: Any = None
    levels: Any = None
    pairs: bool = False

    def values(self, codes: Any) -> Any:
        """Return the weights that `codes`, (rows, columns), stand for, float32."""
        wide = codes.float() if self.levels is None else self.levels[codes.long()]
        found = wide * self.scale[:, self.group]
        return found if self.offset is None else found - self.offset[:, self.group]

    def nearest(self, weight: Any) -> Any:
        """Return the codes nearest to `weight`, (rows, columns) float32. Leaves pairs unbounded."""
        shifted = weight if self.offset is None else weight + self.offset[:, self.group]
        return self.codes_of(shifted, self.scale[:, self.group])

    @property
    def kind(self) -> tuple[Any, ...]:
        """Return what grids share whose matrices may be rounded side by side."""
        levels = None if self.levels is None else tuple(self.levels.tolist())
        return (
            tuple(self.group.tolist()),
            self.low,
            self.high,
            self.offset is None,
            levels,
            self.pairs,
        )

    def codes_of(self, shifted: Any, scale: Any) -> Any:
        """Return the codes nearest to `shifted`, offsets added; both of one shape."""
        torch = torch_module()
        scaled = torch.where(scale == 0, 0, shifted / scale)
        if self.levels is None:
            return scaled.round().clamp(self.low, self.high)
        middles = (self.levels[1:] + self.levels[:-1]) / 2
        return torch.bucketize(scaled.contiguous(), middles).to(scaled.dtype)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch in one thread: sums over all tokens, and factors of them, are split among threads
    otherwise, round differently with their number, and a weight's code may flip."""
    torch = torch_module()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Moments:
    """Sums over all rows of a matrix' input. gram: (in, in), x'x of the inputs that the quantized
    model gives; missing: (in, in), (y - x)'x, where y are the unquantized model's, or None."""

    gram: Any
    missing: Any = None

    @property
    def diagonal(self) -> Any:
        """Return how much each column's error weighs, (in,), mean 1."""
        weight = self.gram.diagonal()
        return weight / weight.mean().clamp_min(1e-30)


def aim(weight: Any, moments: Moments) -> Any:
    """Return the weights that, given the quantized model's inputs, come closest to the products of
    the unquantized one, or `weight`, (out, in), where those are not known.

    Where inputs are rounded themselves, least squares shrink the products of every token alike: a
    bias that a mean over tokens does not average out.
    """
    torch = torch_module()
    if moments.missing is None:
        return weight
    with one_thread():
        factor = torch.linalg.cholesky(_damped(moments.gram))
        # W y ~ A x has the solution A = W (y'x) (x'x)^-1 = W + W ((y - x)'x) (x'x)^-1.
        return weight + torch.cholesky_solve((weight @ moments.missing).T, factor).T


def compensate(weights: Sequence[Any], gram: Any, grids: Sequence[Grid]) -> list[Any]:
    """Return the codes of matrices that read the same input, (out, in) float32 of whole numbers
    each, whose products come close to those of the weights.

    weights: (out, in) torch float32 each; gram: (in, in), x'x over the inputs. Grids of one call
    that have other groups or another range of codes are rounded one after the other.
    """
    made: list[Any] = [None] * len(weights)
    alike: dict[Any, list[int]] = {}
    for at, grid in enumerate(grids):
        alike.setdefault(grid.kind, []).append(at)
    with one_thread():
        order, upper = _inverse_factor(gram)
        for members in alike.values():
            joined = _joined([grids[at] for at in members])
            weight = torch_module().cat([weights[at] for at in members])
            codes = _rounded(weight, order, upper, joined)
            rows = [len(weights[at]) for at in members]
            for at, part in zip(members, codes.split(rows), strict=True):
                made[at] = part.contiguous()
    return made


def _inverse_factor(gram: Any) -> tuple[Any, Any]:
    """Return the order of the columns, those with the largest inputs first, and the upper
    Cholesky factor of the inverse of the damped gram in that order."""
    torch = torch_module()
    damped = _damped(gram)
    order = torch.argsort(damped.diagonal(), descending=True, stable=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped[order][:, order]))
    return order, torch.linalg.cholesky(inverse, upper=True)


def _joined(grids: Sequence[Grid]) -> Grid:
    torch = torch_module()
    first = grids[0]
    offset = None if first.offset is None else torch.cat([grid.offset for grid in grids])
    return replace(first, scale=torch.cat([grid.scale for grid in grids]), offset=offset)


def _rounded(weight: Any, order: Any, upper: Any, grid: Grid) -> Any:
    torch = torch_module()
    width = weight.shape[1]
    rest = weight.T[order].contiguous()  # a column of the matrix is a row here
    scale = grid.scale.T[grid.group[order]].contiguous()
    offset = None if grid.offset is None else grid.offset.T[grid.group[order]].contiguous()
    place = torch.empty_like(order)
    place[order] = torch.arange(width)
    partner = _partners(order, place) if grid.pairs else None
    codes = torch.zeros_like(rest)
    for start in range(0, width, COLUMNS):
        stop = min(start + COLUMNS, width)
        block = rest[start:stop]
        errors = torch.zeros_like(block)
        for i in range(stop - start):
            at = start + i
            target = block[i] if offset is None else block[i] + offset[at]
            found = grid.codes_of(target, scale[at])
            if partner is not None and 0 <= partner[at] < at:
                other = codes[partner[at]]
                found = found.clamp(-PAIR_LIMIT - other, PAIR_LIMIT - other)
            codes[at] = found
            wide = found if grid.levels is None else grid.levels[found.long()]
            error = (target - wide * scale[at]) / upper[at, at]
            errors[i] = error
            if i + 1 < stop - start:
                block[i + 1 :] -= upper[at, at + 1 : stop, None] * error
        rest[stop:] -= upper[start:stop, stop:].T @ errors
    return codes[place].T.contiguous()


def _damped(gram: Any) -> Any:
    damped = gram.clone()
    diagonal = damped.diagonal()
    diagonal[diagonal == 0] = 1
    diagonal += DAMPING * diagonal.mean()
    return damped


def _partners(order: Any, place: Any) -> list[int]:
    """Return, for each column in the order of rounding, the place of its neighbour, -1 for none."""
    width = len(order)
    return [int(place[column ^ 1]) if column ^ 1 < width else -1 for column in order.tolist()]
