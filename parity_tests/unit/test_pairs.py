import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

pytest.importorskip("torch")

import torch

from exporter.quantization.gptq import compensate
from exporter.quantization.grids import row_grid
from exporter.quantization.pairs import PAIR_LIMIT, within_pairs

Rows = npt.NDArray[np.float32]


def rounded(values: Rows) -> tuple[npt.NDArray[np.int8], Rows]:
    """Return the codes of a matrix whose inputs do not depend on each other, and its scales."""
    weight = torch.from_numpy(values)
    grid = row_grid(weight, torch.ones(values.shape[1]))
    (codes,) = compensate([weight], torch.eye(values.shape[1]), [grid])
    return codes.numpy().astype(np.int8), grid.scale[:, 0].numpy()


def multiply_saturating(activations: npt.NDArray[np.uint8], weights: npt.NDArray[np.int8]) -> int:
    """Emulate vpmaddubsw (u8 x s8, pairs added in 16 bits, saturated), then 32-bit sums."""
    products = activations.astype(np.int64) * weights.astype(np.int64)
    padded = np.pad(products, (0, len(products) % 2))
    pairs = np.clip(padded[0::2] + padded[1::2], -(2**15), 2**15 - 1)
    return int(pairs.sum())


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 9)),
        elements=st.floats(-1e4, 1e4, width=32),
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_no_activation_saturates_a_processor_without_vnni(values: Rows, chance: object) -> None:
    codes, scales = rounded(values)
    assert codes.dtype == np.int8
    assert codes.min() >= -127
    rng = np.random.default_rng(chance.randrange(1 << 30))  # type: ignore[attr-defined]
    extremes = rng.choice(np.array([0, 255], np.uint8), values.shape[1])
    for activations in (extremes, np.full(values.shape[1], 255, np.uint8)):
        for row in codes:
            exact = int((activations.astype(np.int64) * row).sum())
            assert multiply_saturating(activations, row) == exact
    assert (scales > 0).all()


def test_weights_of_eight_bits_without_that_care_do_saturate() -> None:
    activations, weights = np.array([255, 255], np.uint8), np.array([127, 127], np.int8)
    assert multiply_saturating(activations, weights) == 2**15 - 1
    codes, _ = rounded(np.array([[1.0, 1.0]], np.float32))
    assert codes.astype(int).sum() == PAIR_LIMIT


def test_opposite_signs_keep_all_eight_bits() -> None:
    codes, _ = rounded(np.array([[1.0, -1.0, 0.5]], np.float32))
    assert abs(codes[0, 0]) > 120
    assert codes[0, 0] == -codes[0, 1]


def test_a_row_of_zeros_quantizes_to_zeros() -> None:
    codes, scales = rounded(np.zeros((2, 4), np.float32))
    assert not codes.any()
    assert (scales > 0).all()


def test_the_second_of_a_pair_gives_way() -> None:
    codes = torch.tensor([[100.0, 60.0, -127.0, -3.0, 5.0]])
    assert within_pairs(codes).tolist() == [[100.0, 28.0, -127.0, -1.0, 5.0]]
