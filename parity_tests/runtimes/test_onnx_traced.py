import shutil
import sys
from pathlib import Path

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
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.runtimes.test_onnx_built import CLOSE, TEXTS, file_hashes
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

HAS_OPTIMUM = True
try:
    import optimum.exporters.onnx as _  # noqa: F401
except ImportError:
    HAS_OPTIMUM = False

traces = pytest.mark.skipif(not HAS_OPTIMUM, reason="needs the extra 'traced'")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(make_tiny_checkpoint(tmp_path_factory.mktemp("source") / "tiny"))


def make_bert(folder: Path, *, pooling: str = "mean", dense: bool, normalize: bool) -> Checkpoint:
    """Write a small random BERT in sentence-transformers' layout, one WordPiece a character."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    characters = sorted({c for text in TEXTS for c in text.lower() if c.strip()})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    raw = folder / "raw"
    raw.mkdir(parents=True)
    (raw / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    BertTokenizerFast(str(raw / "vocab.txt"), model_max_length=48).save_pretrained(raw)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=48,
        hidden_act="relu",  # which the built graph does not have
    )
    BertModel(config).eval().save_pretrained(raw)
    chain = [models.Transformer(str(raw), max_seq_length=48), models.Pooling(32, pooling)]
    if dense:
        identity = torch.nn.Identity()
        chain.append(models.Dense(32, 24, bias=False, activation_function=identity))
    if normalize:
        chain.append(models.Normalize())
    SentenceTransformer(modules=chain, device="cpu").save(str(folder / "bert"))
    return read_checkpoint(folder / "bert")


@traces
@pytest.mark.slow
def test_the_traced_graph_agrees_with_the_built_one(source: Checkpoint, tmp_path: Path) -> None:
    export_onnx(source, tmp_path / "built")
    export_onnx(source, tmp_path / "traced", graph="traced")
    built = OnnxEncoder(tmp_path / "built").encode(TEXTS)
    traced = OnnxEncoder(tmp_path / "traced").encode(TEXTS)
    np.testing.assert_allclose(built, traced, rtol=0, atol=CLOSE)


@traces
@pytest.mark.slow
@pytest.mark.parametrize(
    ("pooling", "dense", "normalize"),
    [("mean", False, True), ("mean", True, False), ("cls", False, False)],
)
def test_a_bert_checkpoint_exports_through_the_traced_graph(
    tmp_path: Path, pooling: str, dense: bool, normalize: bool
) -> None:
    checkpoint = make_bert(tmp_path / "made", pooling=pooling, dense=dense, normalize=normalize)
    assert checkpoint.architecture is None
    with pytest.raises(BadInput, match=r"hidden_act is 'relu'.*; use --graph traced"):
        export_onnx(checkpoint, tmp_path / "onnx")
    manifest = export_onnx(checkpoint, tmp_path / "onnx", graph="traced")
    assert manifest.dim == checkpoint.dim == (24 if dense else 32)
    assert {"torch", "transformers", "optimum-onnx"} <= set(manifest.libraries)
    shutil.rmtree(tmp_path / "made" / "raw")
    encoder = OnnxEncoder(tmp_path / "onnx")
    reference = TorchReference(checkpoint, dtype="float32", device="cpu")
    assert encoder.token_ids(TEXTS) == reference.token_ids(TEXTS)
    assert max(map(len, encoder.token_ids(TEXTS))) == 48
    np.testing.assert_allclose(encoder.encode(TEXTS), reference.encode(TEXTS), rtol=0, atol=CLOSE)


@traces
@pytest.mark.slow
def test_a_traced_artifact_has_the_same_bytes_each_time_and_prints_nothing(
    source: Checkpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export_onnx(source, tmp_path / "one", graph="traced")
    export_onnx(source, tmp_path / "elsewhere" / "two", graph="traced")
    assert file_hashes(tmp_path / "one") == file_hashes(tmp_path / "elsewhere" / "two")
    assert capfd.readouterr() == ("", "")
    manifest = read_manifest(tmp_path / "one")
    assert manifest.options == {"graph": "traced"}
    assert any(t.shape == source.tensors["embed_tokens.weight"].shape for t in manifest.tensors)


@traces
@pytest.mark.slow
def test_what_optimum_cannot_trace_is_named(source: Checkpoint, tmp_path: Path) -> None:
    from unittest import mock

    fails = mock.Mock(side_effect=ValueError("a custom or\nunsupported architecture"))
    with (
        mock.patch("optimum.exporters.onnx.main_export", fails),
        pytest.raises(BadInput, match=r"cannot trace .*'gemma3_text': a custom or unsupported"),
    ):
        export_onnx(source, tmp_path / "onnx", graph="traced")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "int8"}, "--graph traced writes float32 only, not 'int8'; use --quant fp32"),
        ({"dim": 32}, "--graph traced writes the full dim only"),
    ],
)
def test_what_tracing_does_not_offer_is_refused(
    source: Checkpoint, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        export_onnx(source, tmp_path / "onnx", graph="traced", **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_missing_optimum_is_named_with_its_install_line(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optimum.exporters.onnx", None)
    with pytest.raises(
        MissingDependency, match=r"'optimum.exporters.onnx'.*lawvault-exporter\[traced\]"
    ):
        export_onnx(source, tmp_path / "onnx", graph="traced")
    assert not list(tmp_path.iterdir())
