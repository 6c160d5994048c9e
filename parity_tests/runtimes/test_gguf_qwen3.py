"""Qwen3-Embedding as llama.cpp reads it: the converter's bytes, transformers' vectors."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")
pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from exporter.checkpoint.contents import Checkpoint  # noqa: E402
from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.corpus.hard_texts import HARD_TEXTS  # noqa: E402
from exporter.errors import BadInput  # noqa: E402
from exporter.formats.gguf.export import export_gguf  # noqa: E402
from exporter.formats.gguf.lint import lint_gguf  # noqa: E402
from exporter.formats.gguf.options import GgufOptions  # noqa: E402
from exporter.formats.open import open_artifact  # noqa: E402
from exporter.runtimes.original import CheckpointTokens  # noqa: E402
from exporter.runtimes.torch_reference import TorchReference  # noqa: E402
from parity_tests.conftest import TEXTS  # noqa: E402
from parity_tests.layout import save_tensors  # noqa: E402
from parity_tests.rewritten_gguf import drop, put, rewrite  # noqa: E402
from parity_tests.runtimes.test_gguf_identity import assert_identical, convert, converter  # noqa: E402
from parity_tests.tiny_qwen3 import make_tiny_qwen3  # noqa: E402

__all__ = ["converter"]  # a fixture


@pytest.fixture(scope="module")
def sound(tiny_qwen3: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen3-gguf") / "sound"
    return folder / export_gguf(tiny_qwen3, folder).entry


@pytest.fixture(scope="module")
def tiny_qwen3(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(make_tiny_qwen3(tmp_path_factory.mktemp("qwen3") / "Tiny-0.6B-Law"))


def test_every_type_has_the_bytes_of_the_converter(
    tmp_path: Path, tiny_qwen3: Checkpoint, converter: Path
) -> None:
    """The converter knows pre-tokenizers by what they make of one text, pieces included; told that
    this one is Qwen's, it writes what it writes for Qwen's."""
    types = ("f32", "f16", "bf16", "q8_0")
    convert(converter, tiny_qwen3.path, tmp_path / "theirs", *types, pre="qwen2")
    for kind in types:
        manifest = export_gguf(
            tiny_qwen3, tmp_path / kind, scheme=kind, **vars(GgufOptions(plan="upstream"))
        )
        assert_identical(tmp_path / kind / manifest.entry, tmp_path / "theirs" / f"{kind}.gguf")


def test_an_untied_model_saved_whole_has_the_converters_tensors_but_its_output_matrix(
    tmp_path: Path, converter: Path
) -> None:
    folder = make_tiny_qwen3(tmp_path / "whole", tied=False, head=True, dtype="float32")
    convert(converter, folder, tmp_path / "theirs", "bf16", pre="qwen2")
    manifest = export_gguf(
        read_checkpoint(folder), tmp_path / "a", scheme="bf16", **vars(GgufOptions(plan="upstream"))
    )
    readers = [
        gguf.GGUFReader(p)
        for p in (tmp_path / "a" / manifest.entry, tmp_path / "theirs" / "bf16.gguf")
    ]
    ours, theirs = ({t.name: t for t in reader.tensors} for reader in readers)
    assert theirs.keys() - ours.keys() == {"output.weight"}
    for name, tensor in ours.items():
        assert tensor.tensor_type == theirs[name].tensor_type
        assert np.array_equal(tensor.data.view(np.uint8), theirs[name].data.view(np.uint8)), name
    for key, field in readers[0].fields.items():
        if key not in ("general.size_label", "GGUF.tensor_count"):  # count the output matrix too
            assert field.contents() == readers[1].fields[key].contents(), key


def test_it_has_the_vectors_and_token_ids_of_the_model(
    tmp_path: Path, tiny_qwen3: Checkpoint
) -> None:
    truth = TorchReference(tiny_qwen3, dtype="float32", device="cpu").encode(TEXTS)
    export_gguf(tiny_qwen3, tmp_path / "a", scheme="f32")
    encoder = open_artifact(tmp_path / "a")
    assert encoder.token_ids(HARD_TEXTS) == CheckpointTokens(tiny_qwen3)(HARD_TEXTS)
    found = encoder.encode(TEXTS)
    # llama.cpp keeps keys and values in float16.
    assert (1 - (found * truth).sum(axis=1)).max() < 1e-5
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert (1 - (found * alone).sum(axis=1)).max() < 1e-6


def test_texts_decoded_in_parts_have_the_vectors_of_the_model(tmp_path: Path) -> None:
    folder = make_tiny_qwen3(tmp_path / "long", layers=2, positions=4096, max_tokens=1500)
    checkpoint = read_checkpoint(folder)
    text = "第一条 出租人应当按照约定将租赁物交付承租人。"
    texts = [text * times for times in (1, 14, 30, 60, 200)]
    assert max(map(len, CheckpointTokens(checkpoint)(texts))) == 1500
    truth = TorchReference(checkpoint, dtype="float32", device="cpu").encode(texts)
    export_gguf(checkpoint, tmp_path / "a", scheme="f32")
    encoder = open_artifact(tmp_path / "a")
    found = encoder.encode(texts)
    assert (1 - (found * truth).sum(axis=1)).max() < 1e-5
    for text, row in zip(texts, found, strict=True):
        assert np.array_equal(encoder.encode([text])[0], row)


@pytest.mark.parametrize(
    "scheme,most", [("q8_0", 5e-4), ("q4_k_m", 3e-3), ("q4_0", 0.02), ("mixed", 0.02)]
)
def test_quantized_types_are_near_the_model(
    tmp_path: Path, tiny_qwen3: Checkpoint, scheme: str, most: float
) -> None:
    truth = TorchReference(tiny_qwen3, dtype="float32", device="cpu").encode(TEXTS)
    budget = {"budget": "150KB"} if scheme == "mixed" else {}
    export_gguf(tiny_qwen3, tmp_path / "a", scheme=scheme, **budget)
    found = open_artifact(tmp_path / "a").encode(TEXTS)
    assert 1e-7 < (1 - (found * truth).sum(axis=1)).max() < most


def test_the_file_pools_as_the_checkpoint_does(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(make_tiny_qwen3(tmp_path / "mean", pooling="mean"))
    manifest = export_gguf(checkpoint, tmp_path / "a", scheme="f32")
    truth = TorchReference(checkpoint, dtype="float32", device="cpu").encode(TEXTS)
    found = open_artifact(tmp_path / "a").encode(TEXTS)
    assert (1 - (found * truth).sum(axis=1)).max() < 1e-5
    _, findings = lint_gguf(tmp_path / "a" / manifest.entry)
    assert [f.severity for f in findings if f.id == "pooling"] == ["warning"]


def test_lint_finds_nothing_wrong_in_a_sound_file(tmp_path: Path, sound: Path) -> None:
    header, findings = lint_gguf(sound)
    assert header.keys["qwen3.pooling_type"] == 3
    assert header.keys["tokenizer.ggml.pre"] == "qwen2"
    assert header.keys["tokenizer.ggml.add_eos_token"] is True
    assert {f.severity for f in findings} == {"info"}


T = "tokenizer.ggml."


@pytest.mark.parametrize(
    "change,said,effect",
    [
        (put(T + "add_eos_token", False), "add-eos", "last-token pooling lies on"),
        (drop(T + "add_eos_token"), "add-eos", "last-token pooling lies on"),
        (put(T + "add_bos_token", True), "add-bos", "trained without"),
        (drop(T + "merges"), "no-merges", "other token ids"),
        (put(T + "pre", "default"), "pre-tokenizer", "split at other places"),
        (drop(T + "pre"), "pre-tokenizer", "split at other places"),
        (put("qwen3.pooling_type", 1), "pooling", "every vector is another one"),
        (put("qwen3.pooling_type", 2), "pooling", "every vector is another one"),
        (drop("qwen3.pooling_type"), "no-pooling", "Ollama does not offer"),
    ],
)
def test_lint_names_what_is_wrong(
    tmp_path: Path, sound: Path, change: Any, said: str, effect: str
) -> None:
    broken = rewrite(sound, tmp_path / "broken.gguf", keys=change)
    found = {f.id: f for f in lint_gguf(broken)[1] if f.severity != "info"}
    assert effect in found[said].effect


def test_lint_names_the_end_token_of_a_chat(tmp_path: Path, sound: Path) -> None:
    keys = lint_gguf(sound)[0].keys
    end = int(keys[T + "eos_token_id"]) + 2
    assert keys[T + "tokens"][end] == b"<|im_end|>"
    broken = rewrite(sound, tmp_path / "broken.gguf", keys=put(T + "eos_token_id", end))
    (found,) = (f for f in lint_gguf(broken)[1] if f.id == "other-eos")
    assert found.severity == "error" and "'<|im_end|>'" in found.evidence


def tokenizer_of(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text("utf-8"))
    change(data)
    path.write_text(json.dumps(data, ensure_ascii=False), "utf-8")


@pytest.mark.parametrize(
    "change,why",
    [
        (lambda d: d["model"].update(ignore_merges=True), "ignore_merges is True"),
        (lambda d: d["normalizer"].update(type="NFKC"), "normalises texts by NFKC"),
        (lambda d: d["added_tokens"][0].update(rstrip=True), "is found with rstrip"),
        (lambda d: d["pre_tokenizer"]["pretokenizers"].pop(0), "splits texts in a way"),
        (
            lambda d: d["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True),
            "splits texts in a way",
        ),
        (lambda d: d["post_processor"]["processors"].pop(), "does not put <|endoftext|> behind"),
    ],
)
def test_a_tokenizer_that_llama_cpp_does_not_have_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], why: str
) -> None:
    folder = make_tiny_qwen3(tmp_path / "tiny")
    tokenizer_of(folder, change)
    with pytest.raises(BadInput, match=re.escape(why)):
        export_gguf(read_checkpoint(folder), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_dense_module_is_refused_by_name(tmp_path: Path) -> None:
    folder = make_tiny_qwen3(tmp_path / "tiny")
    add_dense(folder, width=64)
    with pytest.raises(BadInput, match="'2_Dense' is a Dense module, which"):
        export_gguf(read_checkpoint(folder), tmp_path / "a")


def add_dense(folder: Path, *, width: int) -> None:
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules[:2], dense, modules[2]]), "utf-8")
    (folder / "2_Dense").mkdir()
    config = {
        "in_features": width,
        "out_features": width,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config), "utf-8")
    weight = np.eye(width, dtype=np.float32)
    save_tensors(
        folder / "2_Dense" / "model.safetensors", {"linear.weight": weight}, dtype="float32"
    )
