from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("onnxruntime")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.manifest import read_manifest
from exporter.vectors.search import search
from parity_tests.conftest import BUNDLED_CORPUS, LAWVAULT_PROMPTS, MINIATURE
from parity_tests.runtimes.test_onnx_built import TEXTS, file_hashes, run_padded
from parity_tests.tiny_checkpoint import SENTENCES, make_tiny_checkpoint

Rows = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Larger than the other tests': rows longer than 64 positions are where kernels differ."""
    folder = tmp_path_factory.mktemp("source") / "tiny"
    return read_checkpoint(
        make_tiny_checkpoint(
            folder,
            hidden=128,
            intermediate=192,
            head_dim=64,
            max_tokens=256,
            window=64,
            matryoshka_dims=(128, 32),
        )
    )


@pytest.fixture(scope="module")
def fp32(source: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fp32") / "onnx"
    export_onnx(source, folder)
    return folder


@pytest.fixture(scope="module")
def int8(source: Checkpoint, few_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "onnx"
    export_onnx(source, folder, scheme="int8", calibration=few_texts)
    return folder


def test_every_matrix_and_the_table_are_stored_in_eight_bits(int8: Path) -> None:
    manifest = read_manifest(int8)
    stored = {t.name: t for t in manifest.tensors}
    matrices = [n for n in stored if n.endswith("_proj") or n == "embed_tokens"]
    assert len(matrices) == 6 * 7 + 1
    assert {stored[n].dtype for n in matrices} == {"int8"}
    assert all(8 < stored[n].bits_per_weight <= 8.51 for n in matrices)
    floats = [t for t in manifest.tensors if t.dtype == "float32"]
    assert all(t.reason for t in floats)
    assert any("norms, biases" in line for line in manifest.kept)
    assert any("the head" in line for line in manifest.kept)


def test_int8_is_near_fp32(fp32: Path, int8: Path) -> None:
    a, b = OnnxEncoder(fp32, threads=1).encode(TEXTS), OnnxEncoder(int8, threads=1).encode(TEXTS)
    cosines = (a * b).sum(axis=1)
    # 0.9977 was measured for the empty text, 0.9986 and more for others: random weights, whose
    # embeddings have nothing in common, are the hardest case. 1 - cosine at most twice that.
    assert cosines.min() > 0.9955
    assert np.median(cosines) > 0.9985
    assert cosines.min() < 0.999999


def test_a_cut_int8_vector_is_near_the_cut_fp32_one(
    source: Checkpoint, fp32: Path, tmp_path: Path, few_texts: Path
) -> None:
    export_onnx(source, tmp_path / "cut", scheme="int8", dim=32, calibration=few_texts)
    found = OnnxEncoder(tmp_path / "cut", threads=1).encode(TEXTS)
    expected = OnnxEncoder(fp32, threads=1).encode(TEXTS, dim=32)
    assert (found * expected).sum(axis=1).min() > 0.9955


@pytest.mark.parametrize("quant", ["fp32", "int8"])
@pytest.mark.parametrize("length", [6, 40, 70, 131, 256])
def test_at_equal_length_companions_change_no_bit(
    fp32: Path, int8: Path, quant: str, length: int
) -> None:
    rng = np.random.default_rng(length)
    folder = {"fp32": fp32, "int8": int8}[quant]
    rows = rng.integers(4, 200, (5, length)).tolist()
    # A companion of the highest activations must not move the scale of another text.
    together = run_padded(folder, rows)
    reversed_ = run_padded(folder, rows[::-1])
    for at in (0, 3):
        alone = run_padded(folder, [rows[at]])
        for name, values in alone.items():
            np.testing.assert_array_equal(values[0], together[name][at])
            np.testing.assert_array_equal(values[0], reversed_[name][4 - at])


@pytest.mark.parametrize("quant", ["fp32", "int8"])
def test_the_encoder_gives_each_text_the_vector_it_has_alone(
    fp32: Path, int8: Path, quant: str
) -> None:
    encoder = OnnxEncoder({"fp32": fp32, "int8": int8}[quant], threads=2)
    joined = "".join(SENTENCES)
    texts = [joined[start : start + n] for n in (3, 20, 70, 71, 90, 140) for start in (0, 1, 7)]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(encoder.encode(texts[::-1])[::-1], together)


def test_the_encoder_pads_nothing(int8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = OnnxEncoder(int8, threads=1, batch_tokens=64)
    run, widths = encoder._session.run, []

    def spy(names: list[str], feed: dict[str, npt.NDArray[np.int64]]) -> list[Rows]:
        assert feed["attention_mask"].all()
        widths.append(feed["input_ids"].shape)
        found: list[Rows] = run(names, feed)
        return found

    monkeypatch.setattr(encoder, "_session", SimpleNamespace(run=spy))
    encoder.encode([*TEXTS, *TEXTS])
    lengths = [len(row) for row in encoder.token_ids([*TEXTS, *TEXTS])]
    assert sorted(w for n, w in widths for _ in range(n)) == sorted(lengths)
    assert all(n == 1 or n * w <= 64 for n, w in widths)
    assert any(n > 1 for n, _ in widths)


def test_padding_by_a_consumer_moves_an_int8_vector_by_roundings_only(int8: Path) -> None:
    rows = np.random.default_rng(1).integers(4, 200, (4, 100)).tolist()
    for row in rows:
        alone = run_padded(int8, [row])["sentence_embedding"]
        padded = run_padded(int8, [row], width=157)["sentence_embedding"]
        # Kernels may round differently with another width, and a rounding to int8 may flip: 2e-3
        # was measured at the most, on larger models. A leak of the padding gives 0.1.
        np.testing.assert_allclose(padded, alone, rtol=0, atol=4e-3)


def test_int8_bytes_are_a_quarter_of_fp32_and_the_same_each_time(
    source: Checkpoint, fp32: Path, int8: Path, tmp_path: Path, few_texts: Path
) -> None:
    small, large = ((f / "model.onnx_data").stat().st_size for f in (int8, fp32))
    # Rotary tables stay float32 and weigh more in a model this small.
    assert small / large < 0.4
    export_onnx(source, tmp_path / "again", scheme="int8", calibration=few_texts)
    assert file_hashes(tmp_path / "again") == file_hashes(int8)


@pytest.mark.slow
def test_padding_leaves_the_first_ten_as_they_are(tmp_path: Path, few_texts: Path) -> None:
    miniature, corpus = (
        read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS),
        read_corpus(BUNDLED_CORPUS),
    )
    export_onnx(miniature, tmp_path / "fp32")
    export_onnx(miniature, tmp_path / "int8", scheme="int8", calibration=few_texts)
    encoder = OnnxEncoder(tmp_path / "int8")
    texts = [
        miniature.prompts.render_document(text, title=title)
        for text, title in zip(corpus.texts, corpus.titles, strict=True)
    ] + [miniature.prompts.render_query(text) for text in corpus.queries]
    rows = encoder.token_ids(texts)
    alone = encoder.encode(texts)
    lengths = np.array([len(row) for row in rows])
    widths = np.minimum(lengths + np.random.default_rng(0).integers(1, 80, len(rows)), 512)
    padded = np.concatenate(
        [encoder.encode_padded([row], width=int(w)) for row, w in zip(rows, widths, strict=True)]
    )
    own = 1 - (alone.astype(np.float64) * OnnxEncoder(tmp_path / "fp32").encode(texts)).sum(axis=1)
    moved = 1 - (alone.astype(np.float64) * padded).sum(axis=1)
    # Measured 6e-8 against 1e-4: last bits of float32 sums, and no rounding to int8 flips.
    assert moved.max() <= own.max() / 4
    count = len(corpus.texts)
    first, then = (search(v[count:], v[:count], k=10) for v in (alone, padded))
    same = np.mean([np.array_equal(a, b) for a, b in zip(first, then, strict=True)])
    assert same >= 0.99


def test_weights_rounded_once_serve_other_graphs(
    source: Checkpoint, int8: Path, few_texts: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    export_onnx(source, tmp_path / "first", scheme="int8", calibration=few_texts, keep=kept)
    (file,) = kept.iterdir()
    before = file.stat().st_mtime_ns
    export_onnx(source, tmp_path / "then", scheme="int8", calibration=few_texts, keep=kept)
    assert file.stat().st_mtime_ns == before
    assert file_hashes(tmp_path / "first") == file_hashes(tmp_path / "then") == file_hashes(int8)
