import json
import shutil
from pathlib import Path

import pytest

from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.corpus.bm25 import rank_by_bm25
from exporter.parity.statistics import paired_difference
from exporter.vectors.search import measure, search
from parity_tests.conftest import BUNDLED_CORPUS, LAWVAULT_PROMPTS, MINIATURE


def test_it_is_small_and_has_embeddinggemmas_layout() -> None:
    size = sum(p.stat().st_size for p in MINIATURE.rglob("*") if p.is_file())
    assert size <= 12_000_000
    checkpoint = read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)
    a = checkpoint.architecture
    assert a is not None
    assert (a.hidden_size, a.intermediate_size, a.num_heads, a.num_kv_heads) == (256, 384, 3, 1)
    assert a.num_layers >= 6
    assert a.layer_types[:6] == ("sliding_attention",) * 5 + ("full_attention",)
    assert [m.kind for m in checkpoint.modules] == [
        "Transformer",
        "Pooling",
        "Dense",
        "Dense",
        "Normalize",
    ]
    assert {t.dtype for t in checkpoint.tensors.values()} == {"BF16"}
    assert len(checkpoint.matryoshka_dims) >= 3
    assert not [f for f in checkpoint.findings if f.severity != "info"]


def test_its_window_is_the_unhalved_one_and_transformers_halves_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    saved = json.loads((MINIATURE / "config.json").read_text())["sliding_window"]
    assert read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS).window_saved == saved
    assert not saved & (saved - 1)
    config = transformers.AutoConfig.from_pretrained(MINIATURE)
    assert config.sliding_window == saved // 2 + 1
    copy = Path(shutil.copytree(MINIATURE, tmp_path / "copy"))
    config.save_pretrained(copy)
    again = json.loads((copy / "config.json").read_text())["sliding_window"]
    if again != saved:  # fixed in transformers by PR #47940
        assert read_checkpoint(copy, window="repaired").window_used == saved


def test_real_texts_cross_its_window() -> None:
    from exporter.checkpoint.tokenizer import load_tokenizer
    from exporter.runtimes.batching import token_rows

    checkpoint = read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)
    assert checkpoint.window_used is not None
    corpus = read_corpus(BUNDLED_CORPUS)
    tokenizer = load_tokenizer(MINIATURE / "tokenizer.json", max_tokens=checkpoint.max_tokens)
    lengths = [len(row) for row in token_rows(tokenizer, corpus.texts)]
    assert sum(length > checkpoint.window_used for length in lengths) >= 20


@pytest.mark.slow
def test_it_beats_bm25_on_the_bundled_corpus() -> None:
    pytest.importorskip("torch")
    from exporter.runtimes.torch_reference import TorchReference

    checkpoint, corpus = (
        read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS),
        read_corpus(BUNDLED_CORPUS),
    )
    encoder = TorchReference(checkpoint, dtype="bfloat16")
    prompts = checkpoint.prompts
    documents = encoder.encode(
        [
            prompts.render_document(text, title=title)
            for title, text in zip(corpus.titles, corpus.texts, strict=True)
        ]
    )
    queries = encoder.encode([prompts.render_query(q) for q in corpus.queries])
    keys = {"doc_ids": corpus.doc_ids, "query_ids": corpus.query_ids, "qrels": corpus.qrels}
    ours = measure(search(queries, documents), **keys)["mrr_at_10"]
    floor = measure(rank_by_bm25(corpus), **keys)["mrr_at_10"]
    difference = paired_difference(ours, floor)
    # Measured +0.216 [+0.139, +0.293].
    assert difference.mean >= 0.05
    assert difference.low > 0
