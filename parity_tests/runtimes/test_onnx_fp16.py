import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.calibration import read_calibration
from exporter.errors import BadInput, MissingDependency
from exporter.formats.onnx.built import export_built
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.formats.onnx.scheme_fp16 import SCHEME as FP16
from exporter.formats.onnx.scheme_fp16 import to_fp16
from exporter.formats.onnx.scheme_fp32 import SCHEME as FP32
from exporter.manifest import read_manifest
from exporter.quantization.ranges import measure_fp16
from exporter.quantization.rescale import RescaledWeights
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.cli.test_commands import lawvault
from parity_tests.conftest import MINIATURE, TEXTS
from parity_tests.miniature.harden import harden
from parity_tests.runtimes.test_onnx_built import file_hashes, run_padded


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(harden(MINIATURE, tmp_path_factory.mktemp("hard") / "hard"))


@pytest.fixture(scope="module")
def artifact(hard: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fp16") / "onnx"
    export_onnx(hard, folder, scheme="fp16")
    return folder


@pytest.fixture(scope="module")
def texts(hard: Checkpoint) -> list[str]:
    # The other prompt of each: calibration saw these words, not these inputs.
    return [
        hard.prompts.render_query(t.text)
        for t in read_calibration(None)[:60]
        if t.role == "document"
    ] + list(TEXTS)


def test_the_fp32_graph_is_the_same_before_and_after_rescaling(
    hard: Checkpoint, tmp_path: Path, texts: list[str]
) -> None:
    rescaling, _ = measure_fp16(hard, texts[:20])
    assert rescaling.residual == -16
    found = {}
    for name, weights in (("before", None), ("after", RescaledWeights(hard, rescaling))):
        (tmp_path / name).mkdir()
        export_built(hard, tmp_path / name, scheme=FP32, dim=hard.dim, weights=weights)
        ids = TorchReference(hard, dtype="float32").token_ids(texts)
        found[name] = run_padded(tmp_path / name, ids)
    for output in ("sentence_embedding", "last_hidden_state"):
        np.testing.assert_allclose(
            found["after"][output], found["before"][output], rtol=1e-6, atol=1e-6
        )


def test_fp16_is_near_the_reference_on_the_hardened_checkpoint(
    hard: Checkpoint, artifact: Path, texts: list[str]
) -> None:
    truth = TorchReference(hard, dtype="float32").encode(texts)
    found = OnnxEncoder(artifact, threads=1).encode(texts)
    # 0.9999993 was measured. onnxruntime runs most of it in float32 on a CPU and drops the casts in
    # between, so that only the stored weights are proven here; test_calibration.py has the rest.
    assert (found * truth).sum(axis=1).min() >= 0.9999


def test_without_rescaling_the_hardened_table_is_refused(hard: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"'embed_tokens' holds .*over float16's 65,504"):
        export_built(hard, tmp_path, scheme=FP16, dim=hard.dim)


def test_every_matrix_and_every_activation_is_float16(artifact: Path) -> None:
    import onnx

    manifest = read_manifest(artifact)
    assert {t.dtype for t in manifest.tensors} == {"float16"}
    model = onnx.load(str(artifact / "model.onnx"), load_external_data=False)
    # To float32 for pooling, the mask twice; nothing in between is cast.
    assert len([c for c in model.graph.node if c.op_type == "Cast"]) <= 4
    assert {o.type.tensor_type.elem_type for o in model.graph.output} == {onnx.TensorProto.FLOAT}


def test_the_manifest_holds_headroom_and_underflow_of_each_layer(
    hard: Checkpoint, artifact: Path
) -> None:
    fp16 = read_manifest(artifact).fp16
    assert fp16 is not None
    assert fp16.residual_exponent == -16
    assert fp16.smallest_epsilon == pytest.approx(1e-6 * 2.0**-30)
    assert len(fp16.layers) == 6
    assert all(r.headroom > 60 and r.row_headroom >= 2 and r.underflow < 1e-3 for r in fp16.layers)
    assert read_manifest(artifact).calibration_sha256 is not None


def test_a_padded_batch_with_texts_beyond_the_window_stays_finite(artifact: Path) -> None:
    rows = np.random.default_rng(2).integers(4, 8000, (3, 300)).tolist()
    rows = [rows[0], rows[1][:5], rows[2][:100]]
    together = run_padded(artifact, rows, width=400)["sentence_embedding"]
    assert np.isfinite(together).all()
    for at, row in enumerate(rows):
        alone = run_padded(artifact, [row])["sentence_embedding"]
        assert (alone[0] * together[at]).sum() > 0.99999


def test_a_cut_dim_goes_with_fp16(hard: Checkpoint, artifact: Path, tmp_path: Path) -> None:
    export_onnx(hard, tmp_path / "cut", scheme="fp16", dim=64)
    cut = OnnxEncoder(tmp_path / "cut", threads=1)
    assert cut.dim == 64
    whole = OnnxEncoder(artifact, threads=1).encode(TEXTS, dim=64)
    assert (cut.encode(TEXTS) * whole).sum(axis=1).min() > 0.99999


def test_own_texts_are_measured_and_the_same_texts_give_the_same_bytes(
    tiny: Checkpoint, tmp_path: Path
) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(f"第{n}条 押金应当退还" for n in range(20)), encoding="utf-8")
    for name in ("one", "two"):
        export_onnx(tiny, tmp_path / name, scheme="fp16", calibration=file)
    assert file_hashes(tmp_path / "one") == file_hashes(tmp_path / "two")
    export_onnx(tiny, tmp_path / "bundled", scheme="fp16")
    ours, bundled = (read_manifest(tmp_path / n) for n in ("one", "bundled"))
    assert ours.calibration_sha256 != bundled.calibration_sha256


def test_external_data_is_found_from_another_working_folder(artifact: Path, tmp_path: Path) -> None:
    code = (
        "import sys, onnxruntime as o\n"
        "s = o.InferenceSession(sys.argv[1])\nprint([x.name for x in s.get_outputs()])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(artifact / "model.onnx")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "sentence_embedding" in ran.stdout, ran.stderr
    assert (artifact / "model.onnx").stat().st_size < 300_000  # far from a protobuf's 2 GB


def test_what_does_not_go_together_is_refused_before_work(tiny: Checkpoint, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    for options, expected in (
        ({"scheme": "fp16", "calibration": empty}, "is empty"),
        ({"scheme": "fp16", "graph": "traced"}, "float32 only"),
        ({"scheme": "fp32", "calibration": empty}, "--quant fp32 measures nothing"),
        ({"scheme": "fp16", "dim": 48}, r"known: 64, 32, 16"),
    ):
        with pytest.raises(BadInput, match=expected):
            export_onnx(tiny, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_without_torch_the_install_line_is_named(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import util

    real = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda n, *a: None if n == "torch" else real(n, *a))
    with pytest.raises(MissingDependency, match=r"'torch'.*lawvault-exporter\[torch\]"):
        export_onnx(tiny, tmp_path / "out", scheme="fp16")


def test_a_weight_over_the_range_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"'layers.0.x' holds 7e\+04"):
        to_fp16(np.array([1, -7e4], np.float32), name="layers.0.x")


def test_inspect_shows_ranges_as_table_and_json(tiny_path: Path, tmp_path: Path) -> None:
    ran = lawvault("inspect", "--ranges", "--checkpoint", str(tiny_path), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "fp16, as saved" in ran.stdout
    assert "fp16, rescaled" in ran.stdout
    ran = lawvault("inspect", "--ranges", "--json", "--checkpoint", str(tiny_path), cwd=tmp_path)
    data = json.loads(ran.stdout)
    assert len(data["ranges"]["rescaled"]) == 6
    assert {"headroom", "row_headroom", "underflow"} <= set(data["ranges"]["as saved"][0])
    ran = lawvault("inspect", "--calibration", "x", "--checkpoint", str(tiny_path), cwd=tmp_path)
    assert ran.returncode == 2
    assert "--calibration is read for --ranges only" in ran.stderr
