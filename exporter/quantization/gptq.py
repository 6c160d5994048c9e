"""Weights rounded so that their errors compensate each other: GPTQ (https://arxiv.org/abs/2210.17323).

The grid of a matrix (its scales and offsets) is fixed first, so that columns may be rounded in the
order of how much their input weighs; the error of each is spread over the columns still to come.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from exporter.quantization.forward import torch_module
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
        return self._codes(shifted, self.scale[:, self.group])

    def _codes(self, shifted: Any, scale: Any) -> Any:
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
    model gives; missing: (in, in), (y - x)'x, where y are the unquantized model's."""

    gram: Any
    missing: Any

    @property
    def diagonal(self) -> Any:
        """Return how much each column's error weighs, (in,), mean 1."""
        weight = self.gram.diagonal()
        return weight / weight.mean().clamp_min(1e-30)


def aim(weight: Any, moments: Moments) -> Any:
    """Return the weights that, given the quantized model's inputs, come closest to the products of
    the unquantized one. weight: (out, in)."""
    torch = torch_module()
    with one_thread():
        factor = torch.linalg.cholesky(_damped(moments.gram))
        # W y ~ A x has the solution A = W (y'x) (x'x)^-1 = W + W ((y - x)'x) (x'x)^-1.
        return weight + torch.cholesky_solve((weight @ moments.missing).T, factor).T


def compensate(weight: Any, gram: Any, grid: Grid) -> Any:
    """Return codes, (out, in) float32 of whole numbers, whose products with the inputs come close
    to those of `weight`. weight: (out, in) torch float32; gram: (in, in), x'x over the inputs.
    """
    torch = torch_module()
    width = weight.shape[1]
    with one_thread():
        damped = _damped(gram)
        order = torch.argsort(damped.diagonal(), descending=True, stable=True)
        damped = damped[order][:, order]
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
        upper = torch.linalg.cholesky(inverse, upper=True)
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
                found = grid._codes(target, scale[at])
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
