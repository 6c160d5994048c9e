from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import onnxruntime
import torch

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.lookup import pack_runs
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.formats.onnx.scheme_blocks import pack_blocks, pack_pairs
from exporter.manifest import read_manifest
from exporter.quantization.blocks import BLOCK, quantize_table_rows
from exporter.quantization.grids import block_grid
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE, TEXTS
from parity_tests.miniature.harden import harden
from parity_tests.runtimes.test_onnx_built import variant


def rounded_to_nearest(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Quantize as a plain tool does: the largest magnitude of a block at 7 steps."""
    blocks = weight.reshape(len(weight), -1, BLOCK)
    scales = np.abs(blocks).max(axis=2, keepdims=True) / 7
    return (np.rint(blocks / scales).clip(-8, 7) * scales).reshape(weight.shape)


def test_a_searched_grid_is_better_than_the_largest_value() -> None:
    values = torch.randn(200, BLOCK, generator=torch.Generator().manual_seed(0))
    found = quantize_table_rows(values.numpy(), bits=4)
    error = np.square(found.values() - values.numpy()).sum(axis=1)
    plain = np.square(rounded_to_nearest(values.numpy()) - values.numpy()).sum(axis=1)
    assert found.codes.max() <= 15
    assert error.sum() < 0.75 * plain.sum()


def test_columns_that_matter_are_rounded_with_more_care() -> None:
    values = torch.randn(200, BLOCK, generator=torch.Generator().manual_seed(1))
    importance = torch.ones(BLOCK)
    importance[3] = 100

    def error(weight: torch.Tensor) -> float:
        grid = block_grid(values, weight, block=BLOCK, bits=4)
        return float((grid.values(grid.nearest(values)) - values)[:, 3].square().mean())

    assert error(importance) < 0.6 * error(torch.ones(BLOCK))


def test_packed_blocks_are_what_the_operator_reads() -> None:
    from onnx import TensorProto, helper

    rng = np.random.default_rng(4)
    n, k = 24, 72  # the last block is not full
    found = quantize_table_rows(rng.standard_normal((n, k)).astype(np.float32), bits=4)
    node = helper.make_node(
        "MatMulNBits",
        ["x", "b", "s", "z"],
        ["y"],
        domain="com.microsoft",
        K=k,
        N=n,
        bits=4,
        block_size=BLOCK,
    )
    packed, zeros = pack_blocks(found.codes, bits=4), pack_pairs(found.zeros)
    raw = found.scales.tobytes()
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", n])],
        [
            helper.make_tensor("b", TensorProto.UINT8, (n, 3, 16), packed.tobytes(), True),
            helper.make_tensor("s", TensorProto.FLOAT, (n, 3), raw, True),
            helper.make_tensor("z", TensorProto.UINT8, zeros.shape, zeros.tobytes(), True),
        ],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = rng.standard_normal((5, k)).astype(np.float32)
    expected = x @ found.values().T
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-4, atol=1e-4)


def test_halves_of_an_odd_width_are_filled_up() -> None:
    codes = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    np.testing.assert_array_equal(pack_runs(codes, bits=4), [[1 | 3 << 4, 2], [4 | 6 << 4, 5]])


@pytest.fixture(scope="module")
def miniature() -> Checkpoint:
    return read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)


@pytest.fixture(scope="module")
def truth(miniature: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("truth") / "onnx"
    export_onnx(miniature, folder)
    return OnnxEncoder(folder, threads=1).encode(TEXTS)


@pytest.mark.parametrize("quant", ["q4", "q4f16"])
def test_four_bits_stay_near(
    miniature: Checkpoint, truth: np.ndarray, tmp_path: Path, few_texts: Path, quant: str
) -> None:
    export_onnx(miniature, tmp_path / "q4", scheme=quant, calibration=few_texts)
    cosines = (OnnxEncoder(tmp_path / "q4", threads=1).encode(TEXTS) * truth).sum(axis=1)
    assert cosines.min() > 0.97
    manifest = read_manifest(tmp_path / "q4")
    stored = {t.name: t.bits_per_weight for t in manifest.tensors}
    assert stored["embed_tokens"] == 4.625
    assert stored["layers.0.self_attn.q_proj"] == (5.125 if quant == "q4" else 4.625)


def test_four_bits_in_float16_survive_the_hardened_checkpoint(
    truth: np.ndarray, tmp_path: Path, few_texts: Path
) -> None:
    hard = read_checkpoint(harden(MINIATURE, tmp_path / "hard"))
    export_onnx(hard, tmp_path / "q4", scheme="q4f16", calibration=few_texts)
    cosines = (OnnxEncoder(tmp_path / "q4", threads=1).encode(TEXTS) * truth).sum(axis=1)
    assert cosines.min() > 0.95


def test_widths_that_no_block_divides_are_padded(tmp_path: Path, few_texts: Path) -> None:
    odd = variant(tmp_path / "odd", hidden=40, heads=4, kv_heads=2, head_dim=8, intermediate=72)
    export_onnx(odd, tmp_path / "fp32")
    export_onnx(odd, tmp_path / "q4", scheme="q4", calibration=few_texts)
    a, b = (OnnxEncoder(tmp_path / n, threads=1).encode(TEXTS) for n in ("fp32", "q4"))
    assert (a * b).sum(axis=1).min() > 0.8  # random weights of 40 channels: shape, not quality


def test_the_same_input_gives_the_same_bytes_with_any_number_of_threads(
    miniature: Checkpoint, tmp_path: Path, few_texts: Path
) -> None:
    before = torch.get_num_threads()
    hashes = set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            manifest = export_onnx(
                miniature, tmp_path / str(threads), scheme="q4", calibration=few_texts
            )
            hashes.add(tuple(file.sha256 for file in manifest.files))
    finally:
        torch.set_num_threads(before)
    assert len(hashes) == 1
