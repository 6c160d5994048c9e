import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

import onnxruntime
from safetensors.numpy import load_file

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.runtimes.encoder import Encoder
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.layout import save_tensors
from parity_tests.tiny_checkpoint import SENTENCES, make_tiny_checkpoint

Array = npt.NDArray[Any]
# Below, at and far beyond the tiny window (reach 8 of 64 positions), cut ones included.
TEXTS = (*SENTENCES, "短", "", "押金" * 5, "".join(SENTENCES))
# 100 times float32's rounding; 3e-7 was measured, and a wrong window or norm gives 1e-2.
CLOSE = 1e-5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(make_tiny_checkpoint(tmp_path_factory.mktemp("source") / "tiny"))


@pytest.fixture(scope="module")
def artifact(source: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "fp32"
    export_onnx(source, folder)
    return folder


@pytest.fixture(scope="module")
def torch_vectors(source: Checkpoint) -> Array:
    return TorchReference(source, dtype="float32", device="cpu").encode(TEXTS)


def file_hashes(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def run_padded(folder: Path, rows: Sequence[Sequence[int]], *, width: int = 0) -> dict[str, Array]:
    """Run the graph itself on one batch, padded on the right, and return its outputs by name."""
    width = max(width, *(len(row) for row in rows))
    ids = np.zeros((len(rows), width), np.int64)
    mask = np.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = row, 1
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    found = session.run(None, {"input_ids": ids, "attention_mask": mask})
    return dict(zip(names, found, strict=True))


def variant(
    folder: Path,
    *,
    config: dict[str, Any] | None = None,
    kv_heads: int = 1,
    dense: int = 2,
    normalize: bool = True,
    **shape: Any,
) -> Checkpoint:
    """Make a float32 checkpoint with other heads, another config, or fewer modules."""
    make_tiny_checkpoint(folder, dtype="float32", matryoshka_dims=(), **shape)
    rng = np.random.default_rng(5)
    saved = json.loads((folder / "config.json").read_text())
    saved |= {"num_key_value_heads": kv_heads, **(config or {})}
    (folder / "config.json").write_text(json.dumps(saved))
    if kv_heads > 1:
        weights = load_file(str(folder / "model.safetensors"))
        for name in [n for n in weights if n.endswith(("k_proj.weight", "v_proj.weight"))]:
            out, into = weights[name].shape
            drawn = rng.standard_normal((out * kv_heads, into)) / np.sqrt(into)
            weights[name] = drawn.astype(np.float32)
        save_tensors(folder / "model.safetensors", weights, dtype="float32")
    modules = json.loads((folder / "modules.json").read_text())
    kept = [*modules[:2], *modules[2 : 2 + dense], *(modules[4:] if normalize else [])]
    (folder / "modules.json").write_text(json.dumps(kept))
    return read_checkpoint(folder)


def test_the_built_graph_agrees_with_torch_in_float32(artifact: Path, torch_vectors: Array) -> None:
    encoder = OnnxEncoder(artifact, threads=1)
    assert isinstance(encoder, Encoder)
    np.testing.assert_allclose(encoder.encode(TEXTS), torch_vectors, rtol=0, atol=CLOSE)


def test_texts_on_both_sides_of_the_window_agree_in_one_padded_batch(
    artifact: Path, torch_vectors: Array
) -> None:
    rows = OnnxEncoder(artifact).token_ids(TEXTS)
    assert min(map(len, rows)) < 8 < 16 < max(map(len, rows)) == 64
    found = run_padded(artifact, rows)["sentence_embedding"]
    np.testing.assert_allclose(found, torch_vectors, rtol=0, atol=CLOSE)


def test_the_window_is_felt_by_the_test_texts(source: Checkpoint, tmp_path: Path) -> None:
    wide = shutil.copytree(source.path, tmp_path / "wide")
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps(config | {"sliding_window": 20}))
    export_onnx(read_checkpoint(wide), tmp_path / "wide-onnx")
    export_onnx(source, tmp_path / "onnx")
    short, long = "短", "".join(SENTENCES)
    a = OnnxEncoder(tmp_path / "wide-onnx").encode([short, long])
    b = OnnxEncoder(tmp_path / "onnx").encode([short, long])
    np.testing.assert_allclose(a[0], b[0], rtol=0, atol=CLOSE)
    assert np.abs(a[1] - b[1]).max() > 100 * CLOSE


@pytest.mark.parametrize(
    "changes",
    [
        {"heads": 4, "kv_heads": 2, "head_dim": 10, "hidden": 40, "layers": 7},
        {"heads": 3, "kv_heads": 3, "head_dim": 6, "hidden": 36, "layers": 1, "window": 5},
        {"heads": 1, "head_dim": 32, "layers": 2, "config": {"query_pre_attn_scalar": 7.5}},
        {"layers": 3, "config": {"layer_types": ["full_attention"] * 3}},
        {"layers": 2, "config": {"rms_norm_eps": 1e-2, "rope_theta": 500.0}},
        {"layers": 2, "dense": 0},
        {"layers": 2, "dense": 1, "wide": 24},
        {"layers": 2, "normalize": False},
    ],
    ids=str,
)
def test_other_shapes_and_module_chains_agree_with_torch(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    checkpoint = variant(tmp_path / "other", **changes)
    export_onnx(checkpoint, tmp_path / "onnx")
    expected = TorchReference(checkpoint, dtype="float32", device="cpu").encode(TEXTS)
    found = OnnxEncoder(tmp_path / "onnx", threads=1).encode(TEXTS)
    assert found.shape == (len(TEXTS), checkpoint.dim)
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)


def test_without_normalize_the_graph_leaves_the_length_alone(tmp_path: Path) -> None:
    checkpoint = variant(tmp_path / "raw", layers=1, normalize=False)
    export_onnx(checkpoint, tmp_path / "onnx")
    found = run_padded(tmp_path / "onnx", [[2, 40, 41, 1]])
    mean = found["last_hidden_state"][0].mean(axis=0)
    np.testing.assert_allclose(found["sentence_embedding"][0], mean, rtol=1e-5, atol=1e-5)
    assert abs(np.linalg.norm(mean) - 1) > 0.1


def test_pooling_the_token_states_by_the_mask_gives_the_same_vector(artifact: Path) -> None:
    rows = OnnxEncoder(artifact).token_ids(TEXTS)
    found = run_padded(artifact, rows)
    pooled = np.stack(
        [s[: len(r)].mean(axis=0) for s, r in zip(found["last_hidden_state"], rows, strict=True)]
    )
    unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, found["sentence_embedding"], rtol=0, atol=CLOSE)
    assert list(found) == ["last_hidden_state", "sentence_embedding"]


def test_a_row_that_is_all_padding_stays_finite(artifact: Path) -> None:
    found = run_padded(artifact, [[2, 40, 1], []])
    assert np.isfinite(found["sentence_embedding"]).all()


@pytest.mark.parametrize("dim", [32, 16])
def test_a_cut_dim_is_the_full_vector_cut_and_normalised(
    source: Checkpoint, artifact: Path, tmp_path: Path, dim: int
) -> None:
    manifest = export_onnx(source, tmp_path / "cut", dim=dim)
    assert (manifest.dim, manifest.name) == (dim, f"onnx-fp32-dim{dim}")
    full = OnnxEncoder(artifact).encode(TEXTS)[:, :dim]
    expected = full / np.linalg.norm(full, axis=1, keepdims=True)
    found = OnnxEncoder(tmp_path / "cut").encode(TEXTS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)


def test_without_dense_a_cut_dim_is_cut_exactly(tmp_path: Path) -> None:
    folder = variant(tmp_path / "plain", layers=1, dense=0).path
    dims = {"loss": "x", "matryoshka_dims": [64, 16]}
    (folder / "README.md").write_text(json.dumps(dims))
    checkpoint = read_checkpoint(folder)
    for quant in ("fp32", "int8"):
        export_onnx(checkpoint, tmp_path / quant / "full", scheme=quant)
        export_onnx(checkpoint, tmp_path / quant / "cut", scheme=quant, dim=16)
        rows = [[2, 40, 41, 1]]
        full = run_padded(tmp_path / quant / "full", rows)["last_hidden_state"]
        cut = run_padded(tmp_path / quant / "cut", rows)["last_hidden_state"]
        np.testing.assert_array_equal(cut, full[..., :16])
