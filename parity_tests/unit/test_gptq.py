import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from exporter.quantization.gptq import Grid, Moments, aim, compensate
from exporter.quantization.grids import block_grid, row_grid
from exporter.quantization.pairs import PAIR_LIMIT, within_pairs


def inputs_of(width: int, *, seed: int = 0, rows: int = 2000) -> torch.Tensor:
    """Inputs whose channels depend on each other and differ in size."""
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=random) / width**0.5
    sizes = torch.logspace(-1, 1, width)
    return torch.randn(rows, width, generator=random) @ mixing * sizes


def error(inputs: torch.Tensor, found: torch.Tensor, weight: torch.Tensor) -> float:
    return float((inputs @ (found - weight).T).square().mean())


@pytest.mark.parametrize("width", [64, 160, 41])
@pytest.mark.parametrize("bits", [4, 8])
def test_compensation_beats_rounding_to_nearest(width: int, bits: int) -> None:
    inputs = inputs_of(width)
    weight = torch.randn(48, width, generator=torch.Generator().manual_seed(1))
    moments = Moments(inputs.T @ inputs)
    grid = (
        row_grid(weight, moments.diagonal)
        if bits == 8
        else block_grid(weight, moments.diagonal, block=32, bits=4)
    )
    (codes,) = compensate([weight], moments.gram, [grid])
    assert codes.shape == weight.shape
    assert codes.min() >= grid.low
    assert codes.max() <= grid.high
    nearest = error(inputs, grid.values(grid.nearest(weight)), weight)
    assert error(inputs, grid.values(codes), weight) < 0.6 * nearest


def test_no_pair_of_neighbours_leaves_its_bound() -> None:
    # Rows whose neighbours have one sign and about one size: the bound is met everywhere.
    random = torch.Generator().manual_seed(2)
    weight = 1 + 0.2 * torch.randn(32, 65, generator=random)
    inputs = inputs_of(65, seed=3)
    gram = inputs.T @ inputs
    grid = row_grid(weight, torch.ones(65))
    (codes,) = compensate([weight], gram, [grid])
    sums = (codes[:, 0:64:2] + codes[:, 1:64:2]).abs()
    assert sums.max() == PAIR_LIMIT
    free = Grid(grid.scale, grid.group, grid.low, grid.high)
    (unbounded,) = compensate([weight], gram, [free])
    assert (unbounded[:, 0:64:2] + unbounded[:, 1:64:2]).abs().max() > PAIR_LIMIT


def test_a_scale_is_chosen_with_the_pair_bound_in_force() -> None:
    """A scale shrunk without it leaves pairs to be cut: ten times the error of rounding."""
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(4))
    grid = row_grid(weight, torch.ones(256))
    found = within_pairs(grid.nearest(weight)) * grid.scale
    step = grid.scale.mean() ** 2 / 12
    assert (found - weight).square().mean() < 1.1 * step


def test_matrices_of_one_input_are_rounded_as_each_is_alone() -> None:
    inputs = inputs_of(64, seed=5)
    gram = inputs.T @ inputs
    weights = [torch.randn(n, 64, generator=torch.Generator().manual_seed(n)) for n in (8, 24, 16)]
    grids = [
        row_grid(weights[0], torch.ones(64)),
        block_grid(weights[1], torch.ones(64), block=32, bits=4),
        row_grid(weights[2], torch.ones(64)),
    ]
    together = compensate(weights, gram, grids)
    for weight, grid, codes in zip(weights, grids, together, strict=True):
        assert torch.equal(compensate([weight], gram, [grid])[0], codes)


def test_a_channel_that_no_input_touches_is_no_obstacle() -> None:
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(6))
    gram = torch.eye(64)
    gram[5, 5] = 0
    grid = block_grid(weight, torch.ones(64), block=32, bits=4)
    assert torch.isfinite(grid.values(compensate([weight], gram, [grid])[0])).all()


def test_zeros_stay_zeros() -> None:
    weight = torch.zeros(3, 70)
    for grid in (
        row_grid(weight, torch.ones(70)),
        block_grid(weight, torch.ones(70), block=32, bits=4),
    ):
        (codes,) = compensate([weight], torch.eye(70), [grid])
        assert not grid.values(codes).any()


def test_levels_are_looked_up_and_rounded_to_the_nearest() -> None:
    levels = torch.tensor([-2.0, -0.5, 0.0, 1.0])
    grid = Grid(torch.ones(1, 1), torch.zeros(4, dtype=torch.int64), 0, 3, levels=levels)
    codes = grid.nearest(torch.tensor([[-9.0, -0.4, 0.2, 0.6]]))
    assert codes.tolist() == [[0, 1, 2, 3]]
    assert grid.values(codes).tolist() == [[-2.0, -0.5, 0.0, 1.0]]


def test_aim_makes_up_for_inputs_that_earlier_layers_changed() -> None:
    truth = inputs_of(64, seed=7)
    change = torch.eye(64) + 0.05 * torch.randn(64, 64, generator=torch.Generator().manual_seed(8))
    given = truth @ change
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(9))
    found = aim(weight, Moments(given.T @ given, (truth - given).T @ given))
    missed = ((given @ found.T) - (truth @ weight.T)).square().mean()
    assert missed < 0.2 * ((given - truth) @ weight.T).square().mean()
    assert aim(weight, Moments(given.T @ given)) is weight


def test_rows_of_any_size_are_bounded_without_loss_where_no_pair_is_large() -> None:
    weight = torch.from_numpy(np.array([[3.0, -3.0, 1.0, 0.2]], np.float32))
    grid = row_grid(weight, torch.ones(4))
    assert float(grid.scale) == pytest.approx(3 / 127, rel=0.2)
