import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exporter.quantization.pairs import PAIR_LIMIT, quantize_pairs

Rows = npt.NDArray[np.float32]


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
    codes, scales = quantize_pairs(values)
    assert codes.dtype == np.int8
    assert codes.min() >= -127
    rng = np.random.default_rng(chance.randrange(1 << 30))  # type: ignore[attr-defined]
    extremes = rng.choice(np.array([0, 255], np.uint8), values.shape[1])
    for activations in (extremes, np.full(values.shape[1], 255, np.uint8)):
        for row in codes:
            exact = int((activations.astype(np.int64) * row).sum())
            assert multiply_saturating(activations, row) == exact
    # Half a step from rounding; one more where a pair had to give one back.
    assert (
        np.abs(codes * scales[:, None].astype(np.float64) - values) <= 1.5 * scales[:, None]
    ).all()


def test_weights_of_eight_bits_without_that_care_do_saturate() -> None:
    activations, weights = np.array([255, 255], np.uint8), np.array([127, 127], np.int8)
    assert multiply_saturating(activations, weights) == 2**15 - 1
    codes, _ = quantize_pairs(np.array([[1.0, 1.0]], np.float32))
    assert codes.astype(int).sum() == PAIR_LIMIT


def test_opposite_signs_keep_all_eight_bits() -> None:
    codes, _ = quantize_pairs(np.array([[1.0, -1.0, 0.5]], np.float32))
    np.testing.assert_array_equal(codes, [[127, -127, 64]])


def test_a_row_of_zeros_quantizes_to_zeros() -> None:
    codes, scales = quantize_pairs(np.zeros((2, 4), np.float32))
    assert not codes.any()
    assert (scales > 0).all()
