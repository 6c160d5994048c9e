import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.errors import BadInput, MissingDependency
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.manifest import read_manifest
from parity_tests.layout import save_tensors
from parity_tests.runtimes.test_onnx_built import TEXTS, file_hashes
from parity_tests.tiny_checkpoint import make_tiny_checkpoint


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(make_tiny_checkpoint(tmp_path_factory.mktemp("source") / "tiny"))


@pytest.fixture(scope="module")
def artifact(source: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "fp32"
    export_onnx(source, folder)
    return folder


@pytest.mark.parametrize("quant", ["fp32", "int8"])
def test_the_same_checkpoint_gives_the_same_bytes(
    source: Checkpoint, tmp_path: Path, quant: str
) -> None:
    export_onnx(source, tmp_path / "one", scheme=quant)
    export_onnx(source, tmp_path / "elsewhere" / "two", scheme=quant)
    assert file_hashes(tmp_path / "one") == file_hashes(tmp_path / "elsewhere" / "two")


def test_the_artifact_stands_without_its_checkpoint(
    source: Checkpoint, artifact: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(source.path, tmp_path / "copy")
    export_onnx(read_checkpoint(copy), tmp_path / "onnx")
    shutil.rmtree(copy)
    found = OnnxEncoder(tmp_path / "onnx").encode(TEXTS)
    np.testing.assert_array_equal(found, OnnxEncoder(artifact).encode(TEXTS))


def test_the_manifest_says_what_was_stored(source: Checkpoint, artifact: Path) -> None:
    manifest = read_manifest(artifact)
    stored = sum(int(np.prod(t.shape)) * t.bits_per_weight / 8 for t in manifest.tensors)
    written = (artifact / "model.onnx_data").stat().st_size
    # Small tensors lie in the graph itself, larger ones are aligned to 64 bytes.
    assert written <= stored + 64 * len(manifest.tensors)
    assert stored - written < 1024 * len(manifest.tensors)
    table = next(t for t in manifest.tensors if t.name == "embed_tokens")
    assert table.shape == source.tensors["embed_tokens.weight"].shape
    assert {t.dtype for t in manifest.tensors} == {"float32"}
    assert manifest.options == {"graph": "built", "flavour": "portable"}
    assert manifest.size_bytes == written + (artifact / "model.onnx").stat().st_size


def test_progress_counts_the_weights(source: Checkpoint, tmp_path: Path) -> None:
    seen: list[int] = []
    export_onnx(source, tmp_path / "onnx", stages=lambda label, total: seen.append)
    assert len(seen) > source.architecture.num_layers  # type: ignore[union-attr]
    assert 0.5 < sum(seen) / source.parameters < 1.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "int9"}, "unknown --quant 'int9'; did you mean 'int8'"),
        ({"graph": "build"}, "unknown --graph 'build'; did you mean 'built'"),
        ({"dim": 48}, r"--dim 48 is not one .* \(known: 64, 32, 16\)"),
        ({"dim": 0}, "--dim 0 is not one"),
        ({"dim": 128}, "--dim 128 is not one"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(
    source: Checkpoint, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        export_onnx(source, tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_an_output_in_use_is_refused_without_force(source: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"not empty.*--force"):
        export_onnx(source, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_causal_model_is_refused_with_the_way_out(source: Checkpoint, tmp_path: Path) -> None:
    folder = shutil.copytree(source.path, tmp_path / "causal")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"use_bidirectional_attention": False}))
    checkpoint = read_checkpoint(folder)
    assert checkpoint.architecture is None
    with pytest.raises(BadInput, match=r"--graph built \(.*causal\); use --graph traced"):
        export_onnx(checkpoint, tmp_path / "out")


def test_a_missing_onnx_is_named_with_its_install_line(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(MissingDependency, match=r"'onnx'.*lawvault-exporter\[onnx\]"):
        export_onnx(source, tmp_path / "out")


def test_a_damaged_graph_is_refused_by_the_encoder(artifact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artifact, tmp_path / "damaged")
    (folder / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(BadInput, match=r"onnxruntime [0-9.]+ cannot load .*export it again"):
        OnnxEncoder(folder)


def test_a_vector_that_is_not_finite_names_its_text(artifact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artifact, tmp_path / "nan")
    data = (folder / "model.onnx_data").read_bytes()
    (folder / "model.onnx_data").write_bytes(b"\xff" * len(data))
    with pytest.raises(BadInput, match=r"not finite.*押金在哪里"):
        OnnxEncoder(folder).encode(["押金在哪里"])


def test_vectors_follow_the_order_of_the_texts_and_the_budget_changes_nothing(
    artifact: Path,
) -> None:
    encoder = OnnxEncoder(artifact, threads=1)
    vectors = encoder.encode(TEXTS)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = encoder.encode([TEXTS[i] for i in order])
    np.testing.assert_array_equal(shuffled, vectors[order])
    counted: list[int] = []
    small = OnnxEncoder(artifact, threads=1, batch_tokens=1)
    np.testing.assert_array_equal(small.encode(TEXTS, on_progress=counted.append), vectors)
    assert sum(counted) == len(TEXTS)
    assert encoder.encode([]).shape == (0, 64)


@pytest.mark.slow
@pytest.mark.parametrize("quant", ["fp32", "int8"])
def test_export_holds_a_part_of_the_model_in_memory(tmp_path: Path, quant: str) -> None:
    folder = make_tiny_checkpoint(tmp_path / "wide", hidden=256, layers=1)
    rows = 200_000
    checkpoint = read_checkpoint(folder)
    weights = {n: checkpoint.tensor(n) for n in checkpoint.tensors if "Dense" not in n}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": rows}))
    table = np.random.default_rng(0).standard_normal((rows, 256), dtype=np.float32)
    save_tensors(folder / "model.safetensors", weights | {"embed_tokens.weight": table})
    wide = read_checkpoint(folder)
    tracemalloc.start()  # numpy's buffers are counted; the peak of the process has a history
    try:
        export_onnx(wide, tmp_path / "onnx", scheme=quant)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The table is 205 MB as float32; 16 MB of it are held at a time, in at most five copies.
    assert peak < table.nbytes / 2
