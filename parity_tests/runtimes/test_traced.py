from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optimum.exporters.onnx")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.errors import BadInput
from exporter.formats.gguf.limits import check_expressible
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.conftest import TEXTS

pytestmark = pytest.mark.slow


def test_the_traced_graph_agrees_with_the_built_one(tiny: Checkpoint, tmp_path: Path) -> None:
    export_onnx(tiny, tmp_path / "traced", graph="traced")
    export_onnx(tiny, tmp_path / "built")
    traced = OnnxEncoder(tmp_path / "traced").encode(TEXTS)
    np.testing.assert_allclose(OnnxEncoder(tmp_path / "built").encode(TEXTS), traced, atol=1e-5)


def make_bert(folder: Path) -> Path:
    """Write a random BERT sentence-transformers checkpoint with a character WordPiece."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    raw = folder / "raw"
    raw.mkdir(parents=True)
    characters = sorted({c for text in TEXTS for c in text if c.strip()})
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    (raw / "vocab.txt").write_text("\n".join(vocab), encoding="utf-8")
    BertTokenizerFast(vocab_file=str(raw / "vocab.txt"), model_max_length=64).save_pretrained(raw)
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        hidden_act="relu",  # which the built graph does not have
    )
    BertModel(config).save_pretrained(raw)
    transformer = Transformer(str(raw), max_seq_length=64)
    model = SentenceTransformer(modules=[transformer, Pooling(32, "mean"), Normalize()])
    model.save(str(folder / "bert"))
    return folder / "bert"


def test_a_bert_checkpoint_exports_through_the_traced_graph(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(make_bert(tmp_path))
    assert checkpoint.architecture is None
    assert any(f.id == "architecture-not-built" for f in checkpoint.findings)
    with pytest.raises(BadInput, match=r"unknown architecture for --graph built.*--graph traced"):
        export_onnx(checkpoint, tmp_path / "out")
    with pytest.raises(BadInput, match="GGUF cannot hold this model"):
        check_expressible(checkpoint)
    export_onnx(checkpoint, tmp_path / "out", graph="traced")
    expected = TorchReference(checkpoint, dtype="float32").encode(TEXTS)
    np.testing.assert_allclose(OnnxEncoder(tmp_path / "out").encode(TEXTS), expected, atol=1e-5)
