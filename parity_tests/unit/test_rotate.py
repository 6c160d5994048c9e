import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.quantization.forward import run_backbone
from exporter.quantization.rotate import RotatedWeights, hadamard, largest_block, rotate_columns
from exporter.quantization.rounding import exact, rotated, round_rows, run_rounded
from exporter.quantization.weights import ModelWeights
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE, TEXTS

EVERYWHERE = {"attention_in": 64, "attended": 256, "mlp_in": 64, "product": 64}


@pytest.fixture(scope="module")
def miniature() -> Checkpoint:
    return read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)


@pytest.mark.parametrize("size", [1, 2, 32, 256])
def test_a_hadamard_matrix_is_orthonormal_and_symmetric(size: int) -> None:
    turn = hadamard(size)
    np.testing.assert_allclose(turn @ turn, np.eye(size), atol=1e-6)
    np.testing.assert_array_equal(turn, turn.T)


def test_a_block_is_the_largest_that_divides() -> None:
    assert largest_block(1152, 256) == 128
    assert largest_block(768, 64) == 64
    assert largest_block(33, 64) == 1


def test_rows_and_columns_are_turned_alike() -> None:
    random = np.random.default_rng(0)
    x, w = (random.standard_normal((5, 96)).astype(np.float32) for _ in range(2))
    turned = rotated(torch.from_numpy(x), 32).numpy() @ rotate_columns(w, 32).T
    np.testing.assert_allclose(turned, x @ w.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("site", [*EVERYWHERE, "all"])
def test_a_rotated_model_is_the_same_function(miniature: Checkpoint, site: str) -> None:
    blocks = EVERYWHERE if site == "all" else {site: EVERYWHERE[site]}
    weights = RotatedWeights(ModelWeights(miniature), blocks)
    found = run_rounded(weights, TEXTS[:4], matrices=None, round_input=exact)
    np.testing.assert_allclose(found, run_backbone(miniature, TEXTS[:4]), rtol=2e-4, atol=2e-4)


def test_a_row_that_is_short_keeps_its_digits() -> None:
    rows = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    rows[1] *= 1e-4
    rows[2] = 0
    found = round_rows(0, "product", rows)
    steps = rows.abs().amax(1, keepdim=True) / 127
    assert ((found - rows).abs() <= steps / 2 * 1.001).all()
    assert not found[2].any()
