"""llama.cpp as an encoder: what it reads, what it cuts, and what it must not depend on."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.tokenizer import load_tokenizer
from exporter.corpus.hard_texts import HARD_TEXTS
from exporter.errors import BadInput, MissingDependency
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.manifest import read_manifest
from exporter.runtimes.batching import token_rows
from exporter.runtimes.encoder import Encoder
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE, TEXTS
from parity_tests.rewritten_gguf import put, rewrite

EOS = 1
LIMIT = 64
ALIKE = (
    "a\nb",
    "a\n\n\n\n\nb",
    "a  b   c",
    " lead",
    "trail ",
    "　全角　空格",
    "Ａ１，𠮷😀é",
    "<eos>x",
    "a<bos>b<mask>c<unk>d<pad>",
    "",
    "\n",
    " ",
    "  \n  \n\n",
    "tab\tx",
    "\r\n",
    "task: search result | query: 小区",
    "2026年11月",
    "e\u0301",
    "a\x7f\x80",
    "<0x0A>",
    "<mas",
    "👨‍👩‍👧‍👦",
    "ة ب",
    "\x00a",
    "用" * 100,
)
# Both are rare in text, and parity compares the ids of every text of a corpus: more spaces than
# the longest piece has (16 here), and the space mark itself.
UNLIKE = ("a" + " " * 20 + "b", "▁▁a ▁")


@pytest.fixture(scope="module")
def folder(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("gguf") / "q8_0"
    export_gguf(tiny, output)
    return output


@pytest.fixture(scope="module")
def encoder(folder: Path) -> LlamaCppEncoder:
    return LlamaCppEncoder(folder)


def reference_ids(checkpoint: Checkpoint, texts: tuple[str, ...]) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(checkpoint.path / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LIMIT)
    return [tokenizer.encode(text).ids for text in texts]


def test_it_is_an_encoder(encoder: LlamaCppEncoder, tiny: Checkpoint) -> None:
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dim) == ("gguf-q8_0", tiny.dim)


def test_it_reads_the_ids_of_tokenizer_json(encoder: LlamaCppEncoder, tiny: Checkpoint) -> None:
    assert encoder.token_ids(ALIKE) == reference_ids(tiny, ALIKE)


def test_the_texts_it_is_known_to_read_otherwise(
    encoder: LlamaCppEncoder, tiny: Checkpoint
) -> None:
    for ours, theirs in zip(encoder.token_ids(UNLIKE), reference_ids(tiny, UNLIKE), strict=True):
        assert ours != theirs


def test_a_text_beyond_the_limit_is_cut_and_keeps_its_end(encoder: LlamaCppEncoder) -> None:
    (row,) = encoder.token_ids(["押金" * 300])
    assert len(row) == LIMIT
    assert row[-1] == EOS
    a, b = encoder.encode(["押金" * 300, "押金" * 300 + "其余的都被截掉"])
    np.testing.assert_array_equal(a, b)


def test_a_vector_does_not_depend_on_its_companions(encoder: LlamaCppEncoder) -> None:
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(together, alone)


def test_vectors_have_length_one_and_are_cut_before_that(encoder: LlamaCppEncoder) -> None:
    full, short = encoder.encode(TEXTS), encoder.encode(TEXTS, dim=16)
    assert short.shape == (len(TEXTS), 16)
    for rows in (full, short):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    cut = full[:, :16] / np.linalg.norm(full[:, :16], axis=1, keepdims=True)
    np.testing.assert_allclose(short, cut, atol=1e-6)


def test_a_prompt_is_a_prefix(encoder: LlamaCppEncoder) -> None:
    np.testing.assert_array_equal(
        encoder.encode(["押金"], prompt="task: "), encoder.encode(["task: 押金"])
    )
    assert encoder.token_ids(["押金"], prompt="task: ") == encoder.token_ids(["task: 押金"])


def test_progress_counts_every_text(encoder: LlamaCppEncoder) -> None:
    seen: list[int] = []
    encoder.encode(TEXTS, on_progress=seen.append)
    assert sum(seen) == len(TEXTS)


def test_no_text_gives_no_vector(encoder: LlamaCppEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_loading_and_encoding_print_nothing(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    LlamaCppEncoder(folder).encode(["押金"])
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize(
    ("start", "data"),
    [(0, b"PK\x03\x04"), (4, b"\x63"), (8, b"\xff" * 8), (40, b"\xff" * 20), (-1, b"")],
    ids=["magic", "version", "tensor count", "keys", "cut off"],
)
def test_a_damaged_file_is_an_error_and_no_abort(
    folder: Path, tmp_path: Path, start: int, data: bytes
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    path = next(copy.glob("*.gguf"))
    content = bytearray(path.read_bytes())
    if start < 0:
        del content[len(content) // 2 :]
    else:
        content[start : start + len(data)] = data
    path.write_bytes(bytes(content))
    with pytest.raises(BadInput, match=r"\.gguf'"):
        LlamaCppEncoder(copy)


def test_a_file_without_pooling_is_an_error_and_no_null_pointer(
    folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    path = copy / read_manifest(copy).entry
    path.unlink()
    rewrite(folder / path.name, path, keys=put("gemma-embedding.pooling_type", 0))
    with pytest.raises(BadInput, match="asks for no pooling; see what 'lawvault lint'"):
        LlamaCppEncoder(copy).encode(["a"])


def test_ten_thousand_texts_are_encoded_and_counted(encoder: LlamaCppEncoder) -> None:
    texts = ["", *(f"第{i}条" for i in range(9_998)), "長" * 5_000]
    seen: list[int] = []
    vectors = encoder.encode(texts, on_progress=seen.append)
    assert sum(seen) == len(texts)
    assert np.isfinite(vectors).all()
    assert np.array_equal(vectors[:3], encoder.encode(texts[:3]))


def test_a_missing_llama_cpp_says_how_to_install_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(MissingDependency, match=r"lawvault-exporter\[llamacpp\]"):
        LlamaCppEncoder(folder)


def test_the_hard_texts_have_the_ids_of_tokenizer_json(
    encoder: LlamaCppEncoder, tiny: Checkpoint
) -> None:
    for text, ours, theirs in zip(
        HARD_TEXTS, encoder.token_ids(HARD_TEXTS), reference_ids(tiny, HARD_TEXTS), strict=True
    ):
        assert ours == theirs, text[:40]


@pytest.mark.slow
def test_the_miniature_reads_the_hard_texts_alike(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)
    export_gguf(checkpoint, tmp_path / "g")
    encoder = LlamaCppEncoder(tmp_path / "g")
    tokenizer = load_tokenizer(MINIATURE / "tokenizer.json", max_tokens=checkpoint.max_tokens)
    expected = token_rows(tokenizer, HARD_TEXTS)
    assert max(map(len, expected)) == checkpoint.max_tokens
    for text, ours, theirs in zip(HARD_TEXTS, encoder.token_ids(HARD_TEXTS), expected, strict=True):
        assert ours == theirs, text[:40]
    assert np.isfinite(encoder.encode(HARD_TEXTS)).all()
