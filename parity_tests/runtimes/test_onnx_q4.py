from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import onnxruntime
import torch

from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.records import Checkpoint
from exporter.errors import BadInput
from exporter.manifest import read_manifest
from exporter.onnx.export import export_onnx
from exporter.onnx.scheme_q4 import pack_blocks
from exporter.quantization.gptq import (
    BLOCK,
    MIDDLE,
    Quantized,
    quantize_blocks,
    quantize_matrix,
    quantize_table_rows,
)
from exporter.runtimes.onnxruntime import OnnxEncoder
from parity_tests.conftest import MINIATURE, TEXTS
from parity_tests.miniature.harden import harden
from parity_tests.runtimes.test_onnx_built import variant


def rounded_to_nearest(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Quantize as a plain tool does: the largest magnitude of a block at 7 steps."""
    blocks = weight.reshape(len(weight), -1, BLOCK)
    scales = np.abs(blocks).max(axis=2, keepdims=True) / 7
    return (np.rint(blocks / scales).clip(-8, 7) * scales).reshape(weight.shape)


def test_a_searched_scale_is_never_worse_than_the_largest_value() -> None:
    values = torch.randn(200, BLOCK, generator=torch.Generator().manual_seed(0))
    codes, scales = quantize_blocks(values)
    found = ((codes - MIDDLE) * scales - values).square().sum(dim=1).numpy()
    plain = np.square(rounded_to_nearest(values.numpy()) - values.numpy()).sum(axis=1)
    assert codes.min() >= 0
    assert codes.max() <= 15
    assert (found <= plain * 1.0001).all()
    assert found.sum() < 0.8 * plain.sum()


def test_columns_that_matter_are_rounded_with_more_care() -> None:
    values = torch.randn(200, BLOCK, generator=torch.Generator().manual_seed(1))
    importance = torch.ones(BLOCK)
    importance[3] = 100

    def error(weight: object) -> float:
        codes, scales = quantize_blocks(values, weight)
        return float(((codes - MIDDLE) * scales - values)[:, 3].square().mean())

    assert error(importance) < 0.6 * error(None)


@pytest.mark.parametrize("width", [64, 160, 40])
def test_error_compensation_beats_rounding_to_nearest(width: int) -> None:
    rng = np.random.default_rng(2)
    mixing = rng.standard_normal((width, width)) / np.sqrt(width)
    inputs = (rng.standard_normal((2000, width)) @ mixing).astype(np.float32)
    weight = rng.standard_normal((48, width)).astype(np.float32)
    hessian = torch.from_numpy(inputs.T @ inputs)
    made = quantize_matrix(torch.from_numpy(weight), hessian)
    assert made.codes.shape == weight.shape
    assert made.scales.shape == (48, -(-width // BLOCK))

    def error(values: npt.NDArray[np.float32]) -> float:
        return float(np.square(inputs @ (values - weight).T).mean())

    alone = quantize_table_rows(weight).values()
    assert error(made.values()) < 0.75 * error(alone)


def test_a_column_that_no_input_touches_is_no_obstacle() -> None:
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(3))
    hessian = torch.eye(64)
    hessian[5, 5] = 0
    assert np.isfinite(quantize_matrix(weight, hessian).values()).all()


def test_zeros_stay_zeros() -> None:
    found = quantize_table_rows(np.zeros((3, 70), np.float32))
    assert not found.values().any()


def test_packed_blocks_are_what_the_operator_reads() -> None:
    from onnx import TensorProto, helper

    rng = np.random.default_rng(4)
    n, k = 24, 72  # the last block is not full
    codes = rng.integers(0, 16, (n, k)).astype(np.uint8)
    scales = rng.uniform(0.5, 1, (n, 3)).astype(np.float32)
    node = helper.make_node(
        "MatMulNBits", ["x", "b", "s"], ["y"], domain="com.microsoft", K=k, N=n, bits=4,
        block_size=BLOCK,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", n])],
        [helper.make_tensor("b", TensorProto.UINT8, (n, 3, 16), pack_blocks(codes).tobytes(), True),
         helper.make_tensor("s", TensorProto.FLOAT, (n, 3), scales.tobytes(), True)],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = rng.standard_normal((5, k)).astype(np.float32)
    expected = x @ Quantized(codes, scales).values().T
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def miniature() -> Checkpoint:
    return read_checkpoint(MINIATURE)


@pytest.fixture(scope="module")
def truth(miniature: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("truth") / "onnx"
    export_onnx(miniature, folder)
    return OnnxEncoder(folder, threads=1).encode(TEXTS)


@pytest.mark.parametrize("quant", ["q4", "q4f16"])
def test_four_bits_stay_near(
    miniature: Checkpoint, truth: np.ndarray, tmp_path: Path, quant: str
) -> None:
    export_onnx(miniature, tmp_path / "q4", quant=quant)
    cosines = (OnnxEncoder(tmp_path / "q4", threads=1).encode(TEXTS) * truth).sum(axis=1)
    assert cosines.min() > 0.97
    manifest = read_manifest(tmp_path / "q4")
    stored = {t.name: t.bits_per_weight for t in manifest.tensors}
    assert stored["embed_tokens"] == 4.5
    assert stored["layers.0.self_attn.q_proj"] == (5.0 if quant == "q4" else 4.5)
    assert manifest.head_correction is not None
    assert manifest.head_correction.error_after < manifest.head_correction.error_before


def test_four_bits_in_float16_survive_the_hardened_checkpoint(
    truth: np.ndarray, tmp_path: Path
) -> None:
    hard = read_checkpoint(harden(MINIATURE, tmp_path / "hard"))
    export_onnx(hard, tmp_path / "q4", quant="q4f16")
    cosines = (OnnxEncoder(tmp_path / "q4", threads=1).encode(TEXTS) * truth).sum(axis=1)
    assert cosines.min() > 0.95


def test_widths_that_no_block_divides_are_padded(tmp_path: Path) -> None:
    odd = variant(tmp_path / "odd", hidden=40, heads=4, kv_heads=2, head_dim=8, intermediate=72)
    export_onnx(odd, tmp_path / "fp32")
    export_onnx(odd, tmp_path / "q4", quant="q4")
    a, b = (OnnxEncoder(tmp_path / n, threads=1).encode(TEXTS) for n in ("fp32", "q4"))
    assert (a * b).sum(axis=1).min() > 0.8  # random weights of 40 channels: shape, not quality


def test_the_same_input_gives_the_same_bytes_with_any_number_of_threads(
    miniature: Checkpoint, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    hashes = set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            manifest = export_onnx(miniature, tmp_path / str(threads), quant="q4")
            hashes.add(tuple(file.sha256 for file in manifest.files))
    finally:
        torch.set_num_threads(before)
    assert len(hashes) == 1


def test_what_needs_no_correction_refuses_one(miniature: Checkpoint, tmp_path: Path) -> None:
    for quant in ("none", "fp16"):
        with pytest.raises(BadInput, match="loses nothing"):
            export_onnx(miniature, tmp_path / "out", quant=quant, head_correction="on")
    assert not (tmp_path / "out").exists()
