"""Channels levelled by powers of two: the same function, smaller outliers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.quantization.channels import levelling, smoothed_weights
from exporter.quantization.forward import run_backbone
from exporter.quantization.weights import ModelWeights
from parity_tests.conftest import MINIATURE, TEXTS
from parity_tests.miniature.harden import harden


def test_levelled_weights_are_the_same_function(tiny: Checkpoint) -> None:
    texts = [text for text in TEXTS if text]
    moved = run_backbone(tiny, texts, weights=smoothed_weights(tiny, texts))
    np.testing.assert_allclose(moved, run_backbone(tiny, texts), rtol=1e-4, atol=1e-5)


def test_outlier_channels_come_closer_to_the_others(tmp_path: Path) -> None:
    hardened = read_checkpoint(harden(MINIATURE, tmp_path / "hard"))
    texts = [text for text in TEXTS if text]

    def spreads(weights: ModelWeights) -> dict[int, float]:
        found: dict[int, float] = {}

        def watch(layer: int, site: str, values: Any) -> None:
            if site == "mlp_in":
                rms = np.sqrt(np.square(values.numpy()).mean(axis=0))
                found[layer] = max(found.get(layer, 0), float(rms.max() / np.median(rms)))

        run_backbone(hardened, texts, weights=weights, watch=watch)
        return found

    before, after = spreads(ModelWeights(hardened)), spreads(smoothed_weights(hardened, texts))
    assert all(after[layer] < before[layer] / 4 for layer in before)  # 64 times, by the square root


def test_a_channel_far_above_the_others_is_moved_by_half_its_exponent() -> None:
    squares = np.ones(9)
    squares[3] = 2.0**20  # rms 2^10
    squares[5] = 0
    np.testing.assert_array_equal(levelling(squares, strength=0.5), [0, 0, 0, -5, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(levelling(np.zeros(4), strength=0.5), np.zeros(4))
