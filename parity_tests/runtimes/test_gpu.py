"""What only a GPU can show: the 16-bit files in onnxruntime-gpu, and the references on CUDA."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE, TEXTS

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def miniature() -> Checkpoint:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that torch can use (CUDA)")
    return read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)


@pytest.fixture(scope="module")
def truth(miniature: Checkpoint) -> np.ndarray:
    return TorchReference(miniature, dtype="float32", device="cpu").encode(TEXTS)


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.999999), ("bfloat16", 0.999)])
def test_the_references_on_cuda_are_those_of_the_processor(
    miniature: Checkpoint, truth: np.ndarray, dtype: str, least: float
) -> None:
    found = TorchReference(miniature, dtype=dtype, device="cuda").encode(TEXTS)  # type: ignore[arg-type]
    assert (found * truth).sum(axis=1).min() > least


@pytest.mark.parametrize(("quant", "least"), [("fp16", 0.9999), ("q4f16", 0.97)])
def test_sixteen_bit_files_are_right_on_cuda(
    miniature: Checkpoint,
    truth: np.ndarray,
    few_texts: Path,
    tmp_path: Path,
    quant: str,
    least: float,
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("needs onnxruntime-gpu; pip install '.[gpu]' in place of onnxruntime")
    export_onnx(miniature, tmp_path / "out", scheme=quant, calibration=few_texts)
    found = OnnxEncoder(tmp_path / "out").encode(TEXTS)
    assert (found * truth).sum(axis=1).min() > least
