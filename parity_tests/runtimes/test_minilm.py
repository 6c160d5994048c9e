"""all-MiniLM-L6-v2 itself: real weights through the graphs of BERT."""

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

from transformers import AutoTokenizer

from benchmarks.english_towns import TOWNS, articles, write_calibration
from exporter.checkpoint.contents import Checkpoint
from exporter.corpus.hard_texts import HARD_TEXTS
from exporter.formats.onnx.export import export_onnx
from exporter.formats.open import open_artifact
from exporter.formats.openvino.export import export_openvino
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.real import minilm_checkpoint

Rows = npt.NDArray[np.float64]


class Subject:
    """The checkpoint, and what torch makes of a hundred texts."""

    def __init__(self) -> None:
        self.checkpoint: Checkpoint = minilm_checkpoint()
        found = list(articles(TOWNS))[::12]
        self.texts = [question for *_, question in found]
        self.texts += [f"{title} {text}" for _, title, text, _ in found]

    @cached_property
    def truth(self) -> Rows:
        reference = TorchReference(self.checkpoint, dtype="float32", device="cpu")
        return reference.encode(self.texts).astype(np.float64)

    def off(self, artifact: Path) -> Rows:
        """Return 1 - cosine of each text."""
        found: Rows = open_artifact(artifact).encode(self.texts).astype(np.float64)
        return np.asarray(1 - (found * self.truth).sum(axis=1))


@pytest.fixture(scope="module")
def minilm() -> Subject:
    return Subject()


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_calibration(tmp_path_factory.mktemp("calibration") / "towns.jsonl")


def test_token_ids_are_those_of_transformers(minilm: Subject) -> None:
    theirs = AutoTokenizer.from_pretrained(minilm.checkpoint.path)
    ours = TorchReference(minilm.checkpoint, dtype="float32", device="cpu")
    for text in (*HARD_TEXTS, *minilm.texts):
        expected = theirs(text, truncation=True, max_length=minilm.checkpoint.max_tokens)
        assert ours.token_ids([text]) == [expected["input_ids"]], text


def test_float32_is_the_model(minilm: Subject, tmp_path: Path) -> None:
    export_onnx(minilm.checkpoint, tmp_path / "onnx")
    export_openvino(minilm.checkpoint, tmp_path / "openvino")
    for name in ("onnx", "openvino"):
        assert minilm.off(tmp_path / name).max() < 1e-6  # 5e-8 was measured
        found = open_artifact(tmp_path / name).encode(minilm.texts)
        np.testing.assert_allclose(found, minilm.truth, rtol=0, atol=1e-6)  # 2e-7


# Median and 99th percentile of 1 - cosine at most, about half more than was measured.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "median", "p99"),
    [("fp16", 8e-7, 1.2e-6), ("int8", 3e-4, 5e-4), ("q4", 9e-3, 1.6e-2)],
)
def test_narrower_graphs_are_near_it(
    minilm: Subject, calibration: Path, tmp_path: Path, scheme: str, median: float, p99: float
) -> None:
    export_onnx(minilm.checkpoint, tmp_path / "a", scheme=scheme, calibration=calibration)
    off = minilm.off(tmp_path / "a")
    assert 0 < np.median(off) < median
    assert np.percentile(off, 99) < p99


@pytest.mark.slow
def test_openvino_in_8_bits_is_near_it(minilm: Subject, calibration: Path, tmp_path: Path) -> None:
    export_openvino(minilm.checkpoint, tmp_path / "a", scheme="int8", calibration=calibration)
    off = minilm.off(tmp_path / "a")
    assert 0 < np.median(off) < 3e-4
    assert np.percentile(off, 99) < 5e-4
