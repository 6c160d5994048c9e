"""Grids of ggml's block formats and the bytes made of them, against gguf-py and ggml itself."""

import numpy as np
import pytest

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

import gguf
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import BadInput
from exporter.formats.gguf.ggml import quantize_rows
from exporter.formats.gguf.grids import LAYOUTS, BlockGrid, fit_grid
from exporter.formats.gguf.pack_codes import pack_codes
from exporter.formats.gguf.types import QTYPE

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
KINDS = sorted(LAYOUTS, key=lambda kind: kind.name)


def bits(values: Floats) -> np.ndarray:  # type: ignore[type-arg]
    return np.ascontiguousarray(values).view(np.uint32)


def unpacked(codes: np.ndarray, grid: BlockGrid) -> Floats:  # type: ignore[type-arg]
    found: Floats = gguf.quants.dequantize(pack_codes(codes, grid), grid.ggml_type)
    return found


def halves(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:  # type: ignore[type-arg]
    """Any finite fp16, denormals and both zeros among them."""
    found = random.integers(0, 1 << 16, shape, dtype=np.uint16).view(np.float16)
    return np.where(np.isfinite(found), found, np.float16(0))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 3), blocks=st.integers(1, 3))
def test_any_codes_come_back_from_their_bytes_bit_for_bit(
    kind: gguf.GGMLQuantizationType, seed: int, rows: int, blocks: int
) -> None:
    random, layout = np.random.default_rng(seed), LAYOUTS[kind]
    width = blocks * gguf.GGML_QUANT_SIZES[kind][0]
    groups = (rows, width // layout.group)
    d, dmin = halves(random, (rows, blocks)), halves(random, (rows, blocks))
    sub = random.integers(layout.sub_low, layout.sub_high, groups, endpoint=True)
    least = random.integers(0, layout.sub_high, groups, endpoint=True)
    if not layout.offsets:
        dmin = np.zeros_like(dmin)
    if layout.groups == 1 or not layout.offsets:
        least = np.ones_like(least)
    grid = BlockGrid(kind, d, dmin, sub.astype(np.int16), least.astype(np.int16))
    codes = random.integers(layout.low, layout.high, (rows, width), endpoint=True)
    np.testing.assert_array_equal(bits(unpacked(codes, grid)), bits(grid.values(codes)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), power=st.integers(-30, 4))
def test_fitted_grids_round_values_of_any_size_to_what_their_bytes_hold(
    kind: gguf.GGMLQuantizationType, seed: int, power: int
) -> None:
    random, layout = np.random.default_rng(seed), LAYOUTS[kind]
    values = random.standard_normal((4, 512)).astype(np.float32) * np.float32(10.0**power)
    values[0] = 0
    values[1, :256] = 0
    values[2] = np.abs(values[2])
    importance = np.exp(3 * random.standard_normal(512)).astype(np.float32)
    importance[:64] = 0
    grid = fit_grid(values, kind, importance=importance)
    codes = grid.nearest(values)
    found = unpacked(codes, grid)
    np.testing.assert_array_equal(bits(found), bits(grid.values(codes)))
    assert not found[0].any()
    assert not found[1, :256].any()
    if power > -3:  # below, fp16 runs out of digits for the scales
        bits_of_code = np.log2(layout.high - layout.low + 1)
        error = np.square(found - values).sum() / np.square(values).sum()
        assert error < 4.0 * 4.0**-bits_of_code


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_grids_lose_no_more_than_ggmls_own_search(
    kind: gguf.GGMLQuantizationType, weighted: bool
) -> None:
    random = np.random.default_rng(1)
    values = random.standard_t(5, (128, 768)).astype(np.float32) / 30
    spread = np.exp(random.standard_normal(768)).astype(np.float32)
    importance = spread if weighted else None
    grid = fit_grid(values, kind, importance=importance)
    theirs = gguf.quants.dequantize(quantize_rows(values, kind, importance=importance), kind)

    def error(found: Floats) -> float:
        square = np.square(found - values).astype(np.float64)
        return float((square * spread).sum() if weighted else square.sum())

    # Measured: 0.80 to 0.97, Q4_1 and Q5_1 with importance 0.99 and 1.01.
    assert error(grid.values(grid.nearest(values))) < 1.02 * error(theirs)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_nearest_code_is_the_nearest_value(kind: gguf.GGMLQuantizationType) -> None:
    random, layout = np.random.default_rng(2), LAYOUTS[kind]
    values = random.standard_normal((3, 256)).astype(np.float32)
    grid = fit_grid(values, kind)
    chosen = np.abs(grid.values(grid.nearest(values)) - values)
    for code in range(layout.low, layout.high + 1):
        other = np.abs(grid.values(np.full(values.shape, code)) - values)
        assert (chosen <= other + 1e-6).all(), code


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_weights_beyond_fp16_scales_are_refused(kind: gguf.GGMLQuantizationType) -> None:
    values = np.ones((2, 256), np.float32)
    values[1, 7] = 1e30
    with pytest.raises(BadInput, match=f"do not fit the fp16 scales of {kind.name}; export --type"):
        fit_grid(values, kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_codes_that_the_format_has_no_bits_for_are_refused(kind: gguf.GGMLQuantizationType) -> None:
    grid = fit_grid(np.ones((1, 256), np.float32), kind)
    for code in (LAYOUTS[kind].low - 1, LAYOUTS[kind].high + 1):
        with pytest.raises(ValueError, match="codes reach from"):
            pack_codes(np.full((1, 256), code), grid)


def test_importance_moves_the_error_to_columns_that_do_not_matter() -> None:
    values = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    importance = np.ones(256, np.float32)
    importance[::2] = 100
    for kind in (QTYPE.Q4_K, QTYPE.Q6_K, QTYPE.Q4_0):
        plain, weighted = fit_grid(values, kind), fit_grid(values, kind, importance=importance)
        errors = [np.square(g.values(g.nearest(values)) - values) for g in (plain, weighted)]
        assert errors[1][:, ::2].sum() < errors[0][:, ::2].sum()
