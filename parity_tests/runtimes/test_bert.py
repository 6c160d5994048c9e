"""BERT and RoBERTa: the built graphs are transformers' own models, in every width and runtime."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

from transformers import AutoTokenizer  # noqa: E402

from exporter.checkpoint.contents import Checkpoint  # noqa: E402
from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.corpus.hard_texts import HARD_TEXTS  # noqa: E402
from exporter.errors import BadInput  # noqa: E402
from exporter.formats.gguf.export import export_gguf  # noqa: E402
from exporter.formats.litert.export import _check_places  # noqa: E402
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.formats.open import open_artifact  # noqa: E402
from exporter.formats.openvino.export import export_openvino  # noqa: E402
from exporter.quantization.channels import smoothed_weights  # noqa: E402
from exporter.quantization.forward import run_backbone  # noqa: E402
from exporter.quantization.rotate import RotatedWeights, usual_blocks  # noqa: E402
from exporter.quantization.rounding import exact, run_rounded  # noqa: E402
from exporter.runtimes.encoder import PaddedEncoder  # noqa: E402
from exporter.runtimes.torch_reference import TorchReference  # noqa: E402
from exporter.runtimes.variants import variants_of  # noqa: E402
from parity_tests.conftest import TEXTS  # noqa: E402
from parity_tests.layout import write_json  # noqa: E402
from parity_tests.tiny_bert import make_tiny_bert  # noqa: E402

Rows = npt.NDArray[np.float32]

SUBJECTS = {
    "bert mean": {"kind": "bert", "pooling": "mean"},
    "bert cls": {"kind": "bert", "pooling": "cls", "normalize": False},
    "xlm-roberta mean": {"kind": "xlm-roberta", "pooling": "mean"},
    "xlm-roberta cls": {"kind": "xlm-roberta", "pooling": "cls"},
    "roberta": {"kind": "roberta", "pooling": "mean", "hidden": 40, "heads": 2, "layers": 1},
}
"""40 divides by no 16, heads of 20 by no 8."""
ODD = (
    *TEXTS,
    "[SEP] the landlord [PAD] [CLS]",
    "</s> deposit <pad> 押金 <pad><mask>",
    "THE LANDLORD é",
)


@pytest.fixture(scope="module", params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("bert") / request.param.replace(" ", "-")
    return read_checkpoint(make_tiny_bert(folder, **SUBJECTS[request.param]))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(make_tiny_bert(tmp_path_factory.mktemp("one") / "bert"))


@pytest.fixture(scope="module")
def truth(subject: Checkpoint) -> Rows:
    return TorchReference(subject, dtype="float32", device="cpu").encode(ODD)


def unit(rows: Rows) -> Rows:
    made: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return made


def test_token_ids_are_those_of_transformers(subject: Checkpoint) -> None:
    theirs = AutoTokenizer.from_pretrained(subject.path)
    ours = TorchReference(subject, dtype="float32", device="cpu")
    for text in (*HARD_TEXTS, *ODD):
        expected = theirs(text, truncation=True, max_length=subject.max_tokens)["input_ids"]
        assert ours.token_ids([text]) == [expected], text


def test_its_steps_in_torch_are_the_model(subject: Checkpoint, truth: Rows) -> None:
    np.testing.assert_allclose(unit(run_backbone(subject, ODD)), truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize("flavour", ["portable", "web", "cpu23"])
def test_its_graph_is_the_model(
    subject: Checkpoint, truth: Rows, tmp_path: Path, flavour: str
) -> None:
    export_onnx(subject, tmp_path / "a", flavour=flavour)
    found = open_artifact(tmp_path / "a").encode(ODD)
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-5)


def test_its_openvino_model_is_the_model(subject: Checkpoint, truth: Rows, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    export_openvino(subject, tmp_path / "a")
    found = open_artifact(tmp_path / "a").encode(ODD)
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize("flavour", ["portable", "cpu23"])
def test_companions_and_padding_move_no_vector(
    subject: Checkpoint, tmp_path: Path, flavour: str
) -> None:
    export_onnx(subject, tmp_path / "a", flavour=flavour)
    encoder = open_artifact(tmp_path / "a")
    assert isinstance(encoder, PaddedEncoder)
    rows = encoder.token_ids(ODD)
    alone = np.concatenate([encoder.encode_padded([row], width=len(row)) for row in rows])
    together = encoder.encode_padded(rows, width=subject.max_tokens)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


def test_roberta_counts_places_of_real_tokens_whatever_pads_them(
    subject: Checkpoint, tmp_path: Path
) -> None:
    if subject.model_type == "bert":
        pytest.skip("BERT counts padding too")
    export_onnx(subject, tmp_path / "a")
    encoder = open_artifact(tmp_path / "a")
    assert isinstance(encoder, PaddedEncoder)
    rows = encoder.token_ids(ODD)
    left, right = (encoder.encode_padded(rows, width=48, left=left) for left in (True, False))
    np.testing.assert_allclose(left, right, rtol=0, atol=3e-6)


# Median and worst 1 - cosine at most, about twice what was measured.
ROUNDED = {"int8": (1e-3, 2.5e-2), "q4": (5e-2, 2e-1), "fp16": (1e-5, 1e-4)}


@pytest.mark.parametrize("scheme", ROUNDED)
def test_rounded_graphs_are_near_the_model(
    subject: Checkpoint, truth: Rows, tmp_path: Path, scheme: str
) -> None:
    manifest = export_onnx(subject, tmp_path / "a", scheme=scheme)
    stored = {t.name: t.dtype for t in manifest.tensors}
    assert stored["layers.0.output.dense"] == {"int8": "int8", "q4": "uint8"}.get(scheme, "float16")
    found = open_artifact(tmp_path / "a").encode(ODD).astype(np.float64)
    off = 1 - (found * truth).sum(axis=1)
    median, worst = ROUNDED[scheme]
    assert 0 < np.median(off) < median
    assert off.max() < worst


def test_openvino_in_8_bits_is_near_the_model(
    subject: Checkpoint, truth: Rows, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    export_openvino(subject, tmp_path / "a", scheme="int8")
    off = 1 - (open_artifact(tmp_path / "a").encode(ODD).astype(np.float64) * truth).sum(axis=1)
    assert np.median(off) < ROUNDED["int8"][0]


def test_folded_factors_and_rotations_leave_the_function_as_it_is(subject: Checkpoint) -> None:
    texts = list(ODD)
    smoothed = smoothed_weights(subject, texts)
    # Values alone take factors: what a norm gives is added to the stream as well.
    for layer in smoothed.smoothing:
        moved = {site for site, exponents in layer.items() if exponents.any()}
        assert moved <= {"attended"}
    weights = RotatedWeights(smoothed, usual_blocks(smoothed.sites))
    found = run_rounded(weights, texts, matrices=None, round_input=exact)
    np.testing.assert_allclose(unit(found), unit(run_backbone(subject, texts)), rtol=0, atol=5e-6)


def test_values_biases_are_rotated_with_them(bert: Checkpoint) -> None:
    weights = RotatedWeights(smoothed_weights(bert, TEXTS), usual_blocks(_sites(bert)))
    name = "layers.0.attention.self.value"
    assert not np.allclose(weights.bias(name), bert.tensor(name + ".bias"), atol=1e-3)
    other = "layers.0.attention.self.key"
    np.testing.assert_array_equal(weights.bias(other), bert.tensor(other + ".bias"))


def _sites(checkpoint: Checkpoint) -> Any:
    from exporter.quantization.weights import ModelWeights

    return ModelWeights(checkpoint).sites


def edited(checkpoint: Checkpoint, folder: Path, **config: Any) -> Path:
    """Return a copy of the checkpoint with another config.json."""
    shutil.copytree(checkpoint.path, folder)
    path = folder / "config.json"
    write_json(path, json.loads(path.read_text("utf-8")) | config)
    return folder


def test_buffers_of_whole_numbers_are_left_out(bert: Checkpoint, tmp_path: Path) -> None:
    folder = edited(bert, tmp_path / "a")
    add_tensor(folder, "embeddings.position_ids", np.arange(48, dtype=np.int64)[None])
    read = read_checkpoint(folder)
    assert set(read.tensors) == set(bert.tensors)
    export_onnx(read, tmp_path / "b")


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.bool_])
def test_other_whole_numbers_are_refused_by_name(
    bert: Checkpoint, tmp_path: Path, kind: type[Any]
) -> None:
    folder = edited(bert, tmp_path / "a")
    add_tensor(folder, "encoder.codes", np.zeros((2, 2), kind))
    with pytest.raises(BadInput, match=r"tensor 'encoder\.codes' .* is no buffer"):
        read_checkpoint(folder)


def add_tensor(folder: Path, name: str, values: npt.NDArray[Any]) -> None:
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    save_file({**load_file(path), name: values}, path, metadata={"format": "pt"})


def test_a_buffer_of_a_model_without_family_is_no_error(bert: Checkpoint, tmp_path: Path) -> None:
    folder = edited(bert, tmp_path / "a", model_type="mpnet")
    add_tensor(folder, "embeddings.position_ids", np.arange(48, dtype=np.int64)[None])
    read = read_checkpoint(folder)
    assert read.architecture is None
    assert "embeddings.position_ids" not in read.tensors


def test_a_missing_tensor_is_called_as_the_file_calls_it(bert: Checkpoint, tmp_path: Path) -> None:
    folder = edited(bert, tmp_path / "a", num_hidden_layers=4)
    with pytest.raises(BadInput, match=r"'encoder\.layer\.3\.attention\.self\.query\.weight' is m"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is true"),
    ],
)
def test_what_the_layers_cannot_say_is_left_to_the_traced_graph(
    bert: Checkpoint, tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    read = read_checkpoint(edited(bert, tmp_path / "a", **config))
    assert read.architecture is None
    assert any(said in finding.evidence for finding in read.findings)
    with pytest.raises(BadInput, match="use --graph traced"):
        export_onnx(read, tmp_path / "b")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_attention_heads": 3}, "hidden_size 64 does not divide by 3"),
        ({"type_vocab_size": 0}, "type_vocab_size is 0"),
        ({"num_hidden_layers": 100_000}, "num_hidden_layers is 100000, more than 1000"),
        ({"model_type": "xlm-roberta", "pad_token_id": 47}, "pad_token_id is 47"),
        ({"model_type": "xlm-roberta", "pad_token_id": None}, "pad_token_id is None"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(
    bert: Checkpoint, tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        read_checkpoint(edited(bert, tmp_path / "a", **config))


def test_places_bound_the_length_of_texts(bert: Checkpoint, tmp_path: Path) -> None:
    folder = make_tiny_bert(tmp_path / "a", kind="xlm-roberta", layers=1)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 4096})
    assert read_checkpoint(folder).max_tokens == 48  # of 50 rows, two are the padding's


def test_pooled_otherwise_it_is_another_model(subject: Checkpoint, truth: Rows) -> None:
    (variant,) = (v for v in variants_of(subject, device="cpu") if "pooled by" in v.said)
    other = {"mean": "cls", "cls": "mean"}[subject.pooling]
    assert variant.said == f"a model pooled by '{other}' instead of '{subject.pooling}'"
    cosines = (variant.load().encode(ODD) * truth).sum(axis=1)
    assert np.median(cosines) < 0.99


def test_heads_that_are_not_exported_are_named(bert: Checkpoint, tmp_path: Path) -> None:
    folder = edited(bert, tmp_path / "a")
    assert "dense-vectors-only" not in {f.id for f in read_checkpoint(folder).findings}
    (folder / "sparse_linear.pt").write_bytes(b"")
    (folder / "colbert_linear.pt").write_bytes(b"")
    (found,) = (f for f in read_checkpoint(folder).findings if f.id == "dense-vectors-only")
    assert "sparse_linear.pt (lexical weights) and colbert_linear.pt" in found.evidence
    assert found.severity == "warning"


def test_where_places_begin_is_told(subject: Checkpoint) -> None:
    found = {f.id: f.evidence for f in subject.findings}
    assert ("positions-behind-padding" in found) == (subject.model_type != "bert")
    if subject.model_type != "bert":
        assert (
            "begin at 2, behind the padding's id 1: 50 rows place 48 tokens"
            in (found["positions-behind-padding"])
        )


def test_gains_that_leave_float16_are_warned_of(bert: Checkpoint, tmp_path: Path) -> None:
    assert {f.id: f.severity for f in bert.findings}["fp16-range"] == "info"
    folder = edited(bert, tmp_path / "a")
    name = "encoder.layer.1.output.LayerNorm.weight"
    add_tensor(folder, name, np.full(64, 1e4, np.float32))
    (found,) = (f for f in read_checkpoint(folder).findings if f.id == "fp16-range")
    assert found.severity == "warning"
    assert "layers.1.output.LayerNorm" in found.evidence


def test_what_it_does_not_offer_is_refused_by_name(subject: Checkpoint, tmp_path: Path) -> None:
    if subject.model_type == "bert":
        pytest.skip("BERT has a file of every format")
    with pytest.raises(
        BadInput, match=rf"no GGUF of a model of type '{subject.model_type}'.*tokenizers"
    ):
        export_gguf(subject, tmp_path / "g")
    assert subject.architecture is not None
    with pytest.raises(BadInput, match="LiteRT graphs count positions from 0"):
        _check_places(subject.architecture)
    assert not list(tmp_path.iterdir())
