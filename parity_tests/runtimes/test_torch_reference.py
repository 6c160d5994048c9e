"""The torch reference is transformers' own computation, of the texts as given."""

import json
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.checkpoint.read import read_checkpoint
from exporter.errors import BadInput
from parity_tests.layout import from_bf16
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from exporter.runtimes.torch_reference import TorchReference, quiet  # noqa: E402

# hidden divides by the heads: plain transformers 5 refuses to load any other.
GEOMETRY: dict[str, Any] = {"hidden": 48, "heads": 3, "head_dim": 16, "matryoshka_dims": (48, 16)}
TEXTS = (
    "房东不退押金怎么办？",
    "title: 住房租赁条例 第十二条 | text: 押金应当在七日内退还。\n逾期的，按日付利息。",
    "　两端有空格 \n",
    "押金" * 200,
    "a",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model", **GEOMETRY)


@pytest.fixture(scope="module")
def fp32(folder: Path) -> TorchReference:
    return TorchReference(read_checkpoint(folder), dtype="float32", device="cpu")


def by_hand(folder: Path, ids: Sequence[int]) -> np.ndarray:
    """Backbone by transformers with eager attention, then pooling and Dense by numpy."""
    from safetensors.torch import load_file
    from transformers import AutoModel

    with quiet():
        model = AutoModel.from_pretrained(
            str(folder), dtype=torch.float32, attn_implementation="eager", local_files_only=True
        )
    with torch.inference_mode():
        states = model(input_ids=torch.tensor([list(ids)])).last_hidden_state[0].double().numpy()
    vector = states.mean(axis=0)
    for name in ("2_Dense", "3_Dense"):
        weight = load_file(str(folder / name / "model.safetensors"))["linear.weight"]
        vector = weight.double().numpy() @ vector
    return np.asarray(vector / np.linalg.norm(vector))


def test_fp32_equals_transformers_with_pooling_and_dense_by_hand(
    folder: Path, fp32: TorchReference
) -> None:
    vectors = fp32.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    for ids, vector in zip(fp32.token_ids(TEXTS), vectors, strict=True):
        # fp32 in another order of operations; measured 2e-7.
        np.testing.assert_allclose(vector, by_hand(folder, ids), atol=4e-7)


def test_a_text_is_read_as_given_between_bos_and_eos_and_cut_before_eos(
    fp32: TorchReference,
) -> None:
    rows = fp32.token_ids(["　a \n", "a", "押金" * 500])
    assert rows[0] != rows[1]
    assert all(row[0] == 2 and row[-1] == 1 for row in rows)
    assert len(rows[2]) == 64


def test_a_prompt_is_a_literal_prefix(fp32: TorchReference) -> None:
    assert fp32.token_ids(["押金"], prompt="query: ") == fp32.token_ids(["query: 押金"])
    np.testing.assert_array_equal(
        fp32.encode(["押金"], prompt="query: "), fp32.encode(["query: 押金"])
    )


def test_the_order_of_texts_is_kept_and_progress_counts_them_all(fp32: TorchReference) -> None:
    texts = [f"第{i}条" + "押金" * (i % 23) for i in range(60)]
    done: list[int] = []
    together = fp32.encode(texts, on_progress=done.append)
    assert sum(done) == len(texts)
    alone = np.concatenate([fp32.encode([text]) for text in texts[:8]])
    np.testing.assert_allclose(together[:8], alone, atol=1e-6)


def test_a_smaller_dim_is_the_start_of_the_vector_scaled_again(fp32: TorchReference) -> None:
    full, cut = fp32.encode(TEXTS), fp32.encode(TEXTS, dim=16)
    expected = full[:, :16] / np.linalg.norm(full[:, :16], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, expected, atol=1e-6)
    with pytest.raises(BadInput, match="dim 49"):
        fp32.encode(TEXTS, dim=49)


def test_bf16_is_bf16_throughout_and_near_fp32(folder: Path, fp32: TorchReference) -> None:
    bf16 = TorchReference(read_checkpoint(folder), dtype="bfloat16", device="cpu")
    assert {p.dtype for p in bf16._model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in fp32._model.parameters()} == {torch.float32}
    cosines = (bf16.encode(TEXTS) * fp32.encode(TEXTS)).sum(axis=1)
    # Rounding to 8 bits of mantissa; measured 0.99994.
    assert 0.9998 < cosines.min() < 1.0


def reach(folder: Path, *, window: Any) -> int:
    """Return how far apart two positions of the first layer still see each other."""
    reference = TorchReference(
        read_checkpoint(folder, window=window), dtype="float32", device="cpu"
    )
    model = reference._model[0].auto_model
    ids = torch.arange(10, 58)[None]
    seen = []
    with torch.inference_mode():
        before = model(input_ids=ids).last_hidden_state[0, 0]
        for distance in range(1, ids.shape[1]):
            other = ids.clone()
            other[0, distance] = 99
            if (model(input_ids=other).last_hidden_state[0, 0] != before).any():
                seen.append(distance)
    return max(seen)


def test_the_window_reaches_half_of_the_raw_number_to_each_side(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "one", layers=1, window=16, **GEOMETRY)
    assert reach(folder, window="as-saved") == 8


def test_a_window_halved_by_saving_is_used_as_saved_or_repaired(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "one", layers=1, window=17, **GEOMETRY)
    before = (folder / "config.json").read_bytes()
    assert reach(folder, window="as-saved") == 8
    assert reach(folder, window="repaired") == 16
    assert (folder / "config.json").read_bytes() == before


def test_heads_that_do_not_divide_the_hidden_size_load_on_every_transformers(
    tmp_path: Path,
) -> None:
    folder = make_tiny_checkpoint(tmp_path / "odd")
    reference = TorchReference(read_checkpoint(folder), dtype="float32", device="cpu")
    assert reference.encode(["押金"]).shape == (1, 64)


def test_a_vector_that_is_not_finite_raises_with_the_text(folder: Path) -> None:
    reference = TorchReference(read_checkpoint(folder), dtype="float32", device="cpu")
    with torch.no_grad():
        reference._model[2].linear.weight[0, 0] = float("nan")
    with pytest.raises(BadInput, match=r"torch fp32 gave a vector that is not finite.*房东"):
        reference.encode(TEXTS)


def test_nan_in_a_checkpoint_is_refused_before_torch_sees_it(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "nan"
    shutil.copytree(folder, broken)
    path = broken / "2_Dense" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-2:] = b"\xff\x7f"
    assert np.isnan(from_bf16(np.frombuffer(raw[-2:], np.uint16))).all()
    path.write_bytes(bytes(raw))
    with pytest.raises(BadInput, match="holds NaN or Inf"):
        read_checkpoint(broken)


def test_loading_prints_nothing_stays_offline_and_leaves_the_environment_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    named = tmp_path / "named"
    shutil.copytree(folder, named)
    card = (named / "README.md").read_text("utf-8")
    (named / "README.md").write_text(f"---\nbase_model: google/embeddinggemma-300m\n---\n{card}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    before = dict(os.environ)

    def refuse(*args: object, **_: object) -> None:
        raise AssertionError(f"a connection was tried: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    TorchReference(read_checkpoint(named), dtype="bfloat16", device="cpu").encode(["押金"])
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")


def make_bert(folder: Path) -> Path:
    """Write a BERT-family sentence-transformers checkpoint with random weights."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    words = BertWordPieceTokenizer()
    words.train_from_iterator([*TEXTS, "abc def押金租赁合同"] * 3, vocab_size=200)
    words.save(str(folder / "tokenizer.json"))
    tokenizer = BertTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=300,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    chain = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(chain)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 48}')
    return folder


def test_another_architecture_gives_what_sentence_transformers_gives(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    with quiet():
        folder = make_bert(tmp_path / "bert")
        plain = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    reference = TorchReference(read_checkpoint(folder), dtype="float32", device="cpu")
    texts = ["押金 abc", "租赁合同", "def" * 100]
    expected = plain.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(reference.encode(texts), expected, atol=1e-6)
