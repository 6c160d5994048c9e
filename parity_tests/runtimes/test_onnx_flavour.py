from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnx

from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.records import Checkpoint
from exporter.errors import BadInput
from exporter.onnx.export import export_onnx
from exporter.onnx.flavour import BROWSER, CPU23, PORTABLE, WEB
from exporter.registry import ONNX_SCHEMES
from exporter.runtimes.onnxruntime import OnnxEncoder
from parity_tests.conftest import MINIATURE, TEXTS


@pytest.fixture(scope="module")
def miniature() -> Checkpoint:
    return read_checkpoint(MINIATURE)


@pytest.mark.parametrize("quant", ["none", "int8"])
def test_flavours_give_one_vector(miniature: Checkpoint, tmp_path: Path, quant: str) -> None:
    found = {}
    for flavour in ("portable", "web", "cpu23"):
        export_onnx(
            miniature, tmp_path / flavour, quant=quant, flavour=flavour, head_correction="off"
        )
        found[flavour] = OnnxEncoder(tmp_path / flavour, threads=1).encode(TEXTS)
    np.testing.assert_array_equal(found["portable"], found["web"])
    cosines = (found["portable"] * found["cpu23"]).sum(axis=1)
    assert cosines.min() > (0.999999 if quant == "none" else 0.9999)


@pytest.mark.parametrize("quant", list(ONNX_SCHEMES))
def test_packaged_graphs_have_opset_21_and_what_browsers_implement(
    miniature: Checkpoint, tmp_path: Path, quant: str
) -> None:
    export_onnx(miniature, tmp_path / "out", quant=quant)
    model = onnx.load(str(tmp_path / "out" / "model.onnx"), load_external_data=False)
    assert {o.domain: o.version for o in model.opset_import}[""] <= 21
    used = {f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in model.graph.node}
    assert used <= BROWSER
    assert "com.microsoft.MultiHeadAttention" in used


def test_an_operator_that_browsers_lack_is_refused() -> None:
    with pytest.raises(BadInput, match=r"onnxruntime-web does not implement .*GatherBlockQuant"):
        WEB.check_operators(["MatMul", "com.microsoft.GatherBlockQuantized"])
    PORTABLE.check_operators(["com.microsoft.GatherBlockQuantized"])


def test_a_flavour_that_its_runtime_cannot_run_leaves_nothing(
    miniature: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = type(WEB)(**{**vars(WEB), "operators": BROWSER - {"MatMul"}})
    monkeypatch.setattr("exporter.onnx.flavour.WEB", narrow)
    with pytest.raises(BadInput, match="does not implement MatMul"):
        export_onnx(miniature, tmp_path / "out", flavour="web")
    assert not (tmp_path / "out").exists()
    assert CPU23.opset == 23


@pytest.mark.parametrize("quant", ["int8", "q4"])
def test_a_web_graph_in_float32_gathers_no_float16(
    miniature: Checkpoint, tmp_path: Path, quant: str
) -> None:
    """A browser's GPU without 16-bit shaders refuses it."""
    export_onnx(miniature, tmp_path / "out", quant=quant, flavour="web", head_correction="off")
    model = onnx.load(str(tmp_path / "out" / "model.onnx"), load_external_data=False)
    half = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    assert half == {"embed_tokens_scale"}
    uses = [n.op_type for n in model.graph.node if half & set(n.input)]
    assert uses == ["Cast"]
