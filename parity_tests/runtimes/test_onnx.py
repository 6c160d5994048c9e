import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.errors import BadInput
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE, TEXTS
from parity_tests.miniature.harden import harden, resave_damaged
from parity_tests.tiny_checkpoint import make_tiny_checkpoint


@pytest.fixture(scope="module")
def truth(tiny: Checkpoint) -> np.ndarray:
    return TorchReference(tiny, dtype="float32").encode(TEXTS)


@pytest.fixture(scope="module")
def fp32(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "fp32"
    export_onnx(tiny, folder)
    return folder


@pytest.fixture(scope="module")
def int8(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "int8"
    export_onnx(tiny, folder, scheme="int8")
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_the_built_fp32_graph_is_torch(fp32: Path, truth: np.ndarray) -> None:
    np.testing.assert_allclose(OnnxEncoder(fp32).encode(TEXTS), truth, atol=2e-6)


@pytest.mark.parametrize(
    "shape",
    [
        {"heads": 4, "head_dim": 8, "layers": 7, "hidden": 40, "intermediate": 72, "wide": 56},
        {"heads": 1, "head_dim": 32, "layers": 2, "window": 4},
    ],
)
def test_other_shapes_are_torch_too(tmp_path: Path, shape: dict[str, int]) -> None:
    checkpoint = read_checkpoint(
        make_tiny_checkpoint(tmp_path / "other", seed=3, matryoshka_dims=(), **shape)
    )
    export_onnx(checkpoint, tmp_path / "out")
    expected = TorchReference(checkpoint, dtype="float32").encode(TEXTS)
    np.testing.assert_allclose(OnnxEncoder(tmp_path / "out").encode(TEXTS), expected, atol=5e-6)


def test_a_repaired_window_is_honoured_by_graph_and_reference(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "tiny")
    sound = TorchReference(read_checkpoint(folder), dtype="float32").encode(TEXTS)
    resave_damaged(folder)
    damaged = TorchReference(read_checkpoint(folder), dtype="float32").encode(TEXTS)
    repaired = read_checkpoint(folder, window="repaired")
    again = TorchReference(repaired, dtype="float32").encode(TEXTS)
    np.testing.assert_allclose(again, sound, atol=1e-6)
    assert np.abs(damaged - sound).max() > 1e-3
    export_onnx(repaired, tmp_path / "out")
    np.testing.assert_allclose(OnnxEncoder(tmp_path / "out").encode(TEXTS), sound, atol=2e-6)


def test_a_hardened_checkpoint_is_the_same_function(tmp_path: Path, tiny: Checkpoint) -> None:
    hard = read_checkpoint(harden(tiny.path, tmp_path / "hard"))
    assert any(f.id == "fp16-range" and f.severity == "warning" for f in hard.findings)
    truth = TorchReference(tiny, dtype="float32").encode(TEXTS)
    # The eps of RMSNorm weighs less on larger rows, and these random rows are short.
    np.testing.assert_allclose(
        TorchReference(hard, dtype="float32").encode(TEXTS), truth, atol=5e-6
    )
    export_onnx(hard, tmp_path / "out")
    np.testing.assert_allclose(OnnxEncoder(tmp_path / "out").encode(TEXTS), truth, atol=5e-6)


def test_the_hardened_miniature_is_the_same_function_to_a_millionth(tmp_path: Path) -> None:
    hard = read_checkpoint(harden(MINIATURE, tmp_path / "hard"))
    truth = TorchReference(
        read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS), dtype="float32"
    ).encode(TEXTS)
    np.testing.assert_allclose(
        TorchReference(hard, dtype="float32").encode(TEXTS), truth, rtol=0, atol=1e-6
    )


def test_int8_stores_every_matrix_but_the_head_in_eight_bits(int8: Path, truth: np.ndarray) -> None:
    from exporter.manifest import read_manifest

    manifest = read_manifest(int8)
    matrices = [
        t
        for t in manifest.tensors
        if len(t.shape) == 2
        and min(t.shape) > 1
        and not t.name.startswith("rotary")
        and "scale" not in t.name
        and t.name != "dense_folded"
    ]
    assert {t.dtype for t in matrices} == {"int8"}
    cosines = (OnnxEncoder(int8).encode(TEXTS) * truth).sum(axis=1)
    # Measured on this checkpoint: CCC at least. Random weights are a hard case.
    assert cosines.min() > 0.998


def test_int8_of_a_text_does_not_depend_on_its_companions(int8: Path) -> None:
    encoder = OnnxEncoder(int8)
    # Digits are split into single tokens, so these have one length and need no padding.
    texts = [f"第{n}条 押金{n}元，{n}日内退还，逾期按日付息。" for n in (123, 456, 789)]
    assert len({len(row) for row in encoder.token_ids(texts)}) == 1
    together = encoder.encode(texts)
    # No scale is taken over the batch. What is left is the order of fp32 sums in the pooling,
    # measured 6e-8; a scale over the batch moves components by 1e-2.
    for i in (0, 1, 2):
        np.testing.assert_allclose(encoder.encode([texts[i]])[0], together[i], atol=2e-7)
    np.testing.assert_array_equal(encoder.encode(texts[::-1])[::-1], together)


def test_a_cut_dim_is_folded_into_the_graph(tiny: Checkpoint, tmp_path: Path, fp32: Path) -> None:
    export_onnx(tiny, tmp_path / "cut", dim=32)
    cut = OnnxEncoder(tmp_path / "cut")
    assert cut.dim == 32
    np.testing.assert_allclose(
        cut.encode(TEXTS), OnnxEncoder(fp32).encode(TEXTS, dim=32), atol=2e-6
    )


def test_token_states_pooled_by_a_consumer_give_the_same_vector(fp32: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(fp32 / "model.onnx"))
    ids = np.array(OnnxEncoder(fp32).token_ids([TEXTS[1]]), np.int64)
    states, vector = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    pooled = states[0].mean(axis=0)
    np.testing.assert_allclose(pooled / np.linalg.norm(pooled), vector[0], atol=1e-6)


def test_the_same_input_gives_the_same_bytes(tiny: Checkpoint, tmp_path: Path, int8: Path) -> None:
    export_onnx(tiny, tmp_path / "again", scheme="int8")
    assert hashes(tmp_path / "again") == hashes(int8)


def test_long_texts_keep_their_end_token(fp32: Path) -> None:
    ids = OnnxEncoder(fp32).token_ids(["长" * 500])[0]
    assert len(ids) == 64
    assert ids[-1] == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scheme": "int9"}, "unknown --quant 'int9'; did you mean 'int8'"),
        ({"graph": "drawn"}, "unknown --graph 'drawn'"),
        ({"dim": 48}, "--dim 48 is not one that the model was trained for"),
        ({"scheme": "int8", "graph": "traced"}, "float32 only"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_work(
    tiny: Checkpoint, tmp_path: Path, options: dict[str, object], expected: str
) -> None:
    with pytest.raises(BadInput, match=expected):
        export_onnx(tiny, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_not_empty_needs_force(tiny: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(BadInput, match="not empty"):
        export_onnx(tiny, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_nan_vector_names_its_text(fp32: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(fp32, tmp_path / "nan"))
    data = bytearray((folder / "model.onnx_data").read_bytes())
    data[: 64 * 4 * 512] = np.full(64 * 512, np.nan, np.float32).tobytes()
    (folder / "model.onnx_data").write_bytes(bytes(data))
    with pytest.raises(BadInput, match="房东不退押金怎么办"):
        OnnxEncoder(folder).encode([TEXTS[1]])
