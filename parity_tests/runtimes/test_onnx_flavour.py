from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnx

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.errors import BadInput
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.flavour import BROWSER, CPU23, PORTABLE, WEB
from exporter.formats.onnx.names import SCHEMES
from exporter.formats.onnx.runtime import OnnxEncoder
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE, TEXTS


@pytest.fixture(scope="module")
def miniature() -> Checkpoint:
    return read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)


@pytest.mark.parametrize("quant", ["fp32", "int8"])
def test_flavours_give_one_vector(
    miniature: Checkpoint, tmp_path: Path, few_texts: Path, quant: str
) -> None:
    found = {}
    for flavour in ("portable", "web", "cpu23"):
        export_onnx(
            miniature,
            tmp_path / flavour,
            scheme=quant,
            flavour=flavour,
            calibration=None if quant == "fp32" else few_texts,
        )
        found[flavour] = OnnxEncoder(tmp_path / flavour, threads=1).encode(TEXTS)
    for other in ("web", "cpu23"):
        cosines = (found["portable"] * found[other]).sum(axis=1)
        assert cosines.min() > (0.999999 if quant == "fp32" else 0.9999)


@pytest.mark.parametrize("quant", list(SCHEMES))
def test_packaged_graphs_have_opset_21_and_what_browsers_implement(
    miniature: Checkpoint, tmp_path: Path, few_texts: Path, quant: str
) -> None:
    texts = None if quant == "fp32" else few_texts
    budget = "4.4MB" if quant == "mixed" else None
    export_onnx(miniature, tmp_path / "out", scheme=quant, budget=budget, calibration=texts)
    model = onnx.load(str(tmp_path / "out" / "model.onnx"), load_external_data=False)
    assert {o.domain: o.version for o in model.opset_import}[""] <= 21
    used = {f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in model.graph.node}
    assert used <= BROWSER
    # GPUs fuse it; in float32 plain operators are the faster ones on a processor.
    halved = quant in ("fp16", "q4f16")
    assert ("com.microsoft.MultiHeadAttention" in used) == halved


def test_an_operator_that_browsers_lack_is_refused() -> None:
    with pytest.raises(BadInput, match=r"onnxruntime-web does not implement .*GatherBlockQuant"):
        WEB.check_operators(["MatMul", "com.microsoft.GatherBlockQuantized"])
    PORTABLE.check_operators(["com.microsoft.GatherBlockQuantized"])


def test_a_flavour_that_its_runtime_cannot_run_leaves_nothing(
    miniature: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = type(WEB)(**{**vars(WEB), "operators": BROWSER - {"MatMul"}})
    monkeypatch.setattr("exporter.formats.onnx.flavour.WEB", narrow)
    with pytest.raises(BadInput, match="does not implement MatMul"):
        export_onnx(miniature, tmp_path / "out", flavour="web")
    assert not (tmp_path / "out").exists()
    assert CPU23.opset == 23


@pytest.mark.parametrize("quant", ["int8", "q4"])
def test_a_web_graph_in_float32_gathers_no_float16(
    miniature: Checkpoint, tmp_path: Path, few_texts: Path, quant: str
) -> None:
    """A browser's GPU without 16-bit shaders refuses it."""
    export_onnx(miniature, tmp_path / "out", scheme=quant, flavour="web", calibration=few_texts)
    model = onnx.load(str(tmp_path / "out" / "model.onnx"), load_external_data=False)
    assert "MultiHeadAttention" not in {n.op_type for n in model.graph.node}
    half = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    assert half == {"embed_tokens_scale"}
    uses = [n.op_type for n in model.graph.node if half & set(n.input)]
    assert uses == ["Cast"]


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_plain_attention_is_that_of_numpy(tmp_path: Path, kv_heads: int) -> None:
    import onnxruntime

    from exporter.architectures.steps import Attend
    from exporter.formats.onnx.graph_writer import FLOAT, GraphWriter, tensor_value
    from exporter.formats.onnx.plain_attention import attend_plain, mask_by_group

    heads, dim, batch, length = 4, 8, 2, 5
    step = Attend(
        "q", "k", "v", "o", heads=heads, kv_heads=kv_heads, head_dim=dim, mask="full", scale=1.0
    )
    wide, narrow = ("b", "s", heads * dim), ("b", "s", kv_heads * dim)
    with GraphWriter(tmp_path, flavour=WEB) as writer:
        mask = mask_by_group(writer, "bias", group=heads // kv_heads)
        found = attend_plain(writer, "q", "k", "v", mask, step=step)
        inputs = [
            tensor_value("q", FLOAT, wide),
            tensor_value("k", FLOAT, narrow),
            tensor_value("v", FLOAT, narrow),
            tensor_value("bias", FLOAT, ("b", 1, "s", "s")),
        ]
        writer.node("Identity", [found], names=["out"])
        writer.save(inputs, [tensor_value("out", FLOAT, wide)], producer="test")
    rng = np.random.default_rng(0)

    def random(*sizes: int) -> np.ndarray:
        return rng.standard_normal(sizes, dtype=np.float32)

    q, bias = random(batch, length, heads * dim), random(batch, 1, length, length)
    k, v = random(batch, length, kv_heads * dim), random(batch, length, kv_heads * dim)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (given,) = session.run(None, {"q": q, "k": k, "v": v, "bias": bias})

    def by_head(x: np.ndarray, count: int) -> np.ndarray:
        apart = x.reshape(batch, length, count, dim).transpose(0, 2, 1, 3)
        return np.repeat(apart, heads // count, axis=1).astype(np.float64)

    scores = by_head(q, heads) @ by_head(k, kv_heads).swapaxes(2, 3) + bias
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = (shares @ by_head(v, kv_heads)).transpose(0, 2, 1, 3).reshape(q.shape)
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("quant", ["fp32", "fp16"])
def test_a_table_that_a_gpu_cannot_hold_is_split(
    miniature: Checkpoint,
    tmp_path: Path,
    few_texts: Path,
    monkeypatch: pytest.MonkeyPatch,
    quant: str,
) -> None:
    texts = None if quant == "fp32" else few_texts
    found = []
    for name, limit in (("whole", WEB.largest_bytes), ("split", 1 << 21)):
        small = replace(WEB, largest_bytes=limit)
        monkeypatch.setattr("exporter.formats.onnx.flavour.WEB", small)
        export_onnx(miniature, tmp_path / name, scheme=quant, flavour="web", calibration=texts)
        found.append(OnnxEncoder(tmp_path / name, threads=1).encode(TEXTS))
    if quant == "fp32":
        assert np.array_equal(found[0].view(np.uint32), found[1].view(np.uint32))
    # onnxruntime computes float16 in float32 on processors, and rounds between other nodes.
    assert (found[0] * found[1]).sum(axis=1).min() > 0.99999
    model = onnx.load(str(tmp_path / "split" / "model.onnx"), load_external_data=False)
    tables = [t for t in model.graph.initializer if t.name.startswith("embed_tokens")]
    assert len(tables) == {"fp32": 4, "fp16": 2}[quant]
    size = {"fp32": 4, "fp16": 2}[quant]
    assert all(int(np.prod(t.dims)) * size <= 1 << 21 for t in tables)
    assert miniature.architecture is not None
    assert sum(t.dims[0] for t in tables) == miniature.architecture.vocab_size
