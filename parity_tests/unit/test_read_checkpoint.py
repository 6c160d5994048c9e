import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.checkpoint.matryoshka import read_matryoshka_dims
from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.safetensors_file import largest_magnitude, read_header, read_tensor
from exporter.errors import BadInput
from parity_tests.layout import save_tensors
from parity_tests.miniature.harden import resave_damaged
from parity_tests.tiny_checkpoint import make_tiny_checkpoint


def edit(path: Path, **changes: Any) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        data[key] = value
    path.write_text(json.dumps(data), encoding="utf-8")


def with_weights(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    tensors = {
        n: read_checkpoint(folder).tensor(n)
        for n in read_checkpoint(folder).tensors
        if "/" not in n
    }
    change(tensors)
    save_tensors(folder / "model.safetensors", tensors)


def test_a_sound_checkpoint_is_read(tiny_path: Path) -> None:
    checkpoint = read_checkpoint(tiny_path)
    assert checkpoint.dim == 64
    assert checkpoint.matryoshka_dims == (64, 32, 16)
    assert [m.kind for m in checkpoint.modules][2:] == ["Dense", "Dense", "Normalize"]
    assert checkpoint.prompts == checkpoint.own_prompts
    assert checkpoint.prompts.render_query("问") == "task: search result | query: 问"
    ids = {f.id for f in checkpoint.findings}
    assert {
        "window-intact",
        "fp16-range",
        "bf16-embed-scale",
        "class-names",
        "bos-eos",
        "dense-outside-backbone",
        "batch-companions",
        "special-token-text",
        "text-stripping",
        "prompts",
        "matryoshka-dims",
    } <= ids


def broken_json(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def huge_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes((1 << 60).to_bytes(8, "little") + path.read_bytes()[8:])


def pickled_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def symlink_out(folder: Path) -> None:
    target = folder.parent / "elsewhere.json"
    (folder / "config.json").rename(target)
    (folder / "config.json").symlink_to(target)


def nan(folder: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["layers.3.mlp.down_proj.weight"][0, :12] = np.nan

    with_weights(folder, change)


def inf(folder: Path) -> None:
    with_weights(folder, lambda t: t["norm.weight"].__setitem__(0, np.inf))


def missing_tensor(folder: Path) -> None:
    with_weights(folder, lambda t: t.pop("layers.2.mlp.up_proj.weight") is None)  # type: ignore


def extra_tensor(folder: Path) -> None:
    with_weights(folder, lambda t: t.__setitem__("lm_head.weight", np.zeros((2, 2), "f4")))


def wrong_shape(folder: Path) -> None:
    with_weights(folder, lambda t: t.__setitem__("norm.weight", np.zeros(63, "f4")))


def module_class(folder: Path) -> None:
    path = folder / "modules.json"
    path.write_text(path.read_text().replace("models.Normalize", "models.LSTM"))


def module_path_out(folder: Path) -> None:
    path = folder / "modules.json"
    path.write_text(path.read_text().replace("2_Dense", "../2_Dense"))


def not_utf8(folder: Path) -> None:
    (folder / "modules.json").write_bytes(b"\xff\xfe[]")


def link_to_itself(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("config.json")


def header(folder: Path, change: Callable[[str], str]) -> None:
    """Change the header of the second Dense's weights, a JSON text."""
    path = folder / "3_Dense" / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    text = change(content[8 : 8 + length].decode()).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def overlapping(text: str) -> str:
    entries = json.loads(text)
    return json.dumps({**entries, "other": entries["linear.weight"]})


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "config missing": (lambda f: (f / "config.json").unlink(), "config.json' is missing"),
    "modules missing": (lambda f: (f / "modules.json").unlink(), "modules.json' is missing"),
    "tokenizer missing": (lambda f: (f / "tokenizer.model").unlink(), "tokenizer.model' is"),
    "dense missing": (lambda f: shutil.rmtree(f / "2_Dense"), "2_Dense' is missing"),
    "broken json": (broken_json, "not valid JSON (line 1"),
    "not utf-8": (not_utf8, "not valid UTF-8"),
    "truncated": (truncated, "ends past the end of the file"),
    "empty": (empty, "0 bytes long"),
    "huge header": (huge_header, "claims a header of 1,152,921,504,606,846,976 bytes"),
    "pickled": (pickled_only, "pickled weights only"),
    "symlink": (symlink_out, "symbolic link out of the checkpoint"),
    "nan": (nan, "'layers.3.mlp.down_proj.weight' holds NaN or Inf (12 of 6,144)"),
    "inf": (inf, "'norm.weight' holds NaN or Inf (1 of 64)"),
    "missing tensor": (missing_tensor, "'layers.2.mlp.up_proj.weight' is missing"),
    "extra tensor": (extra_tensor, "'lm_head.weight'"),
    "wrong shape": (wrong_shape, "has shape [63], its config says [64]"),
    "auto_map": (lambda f: edit(f / "config.json", auto_map={"AutoModel": "x.Y"}), "auto_map"),
    "module class": (module_class, "unknown module class 'sentence_transformers.models.LSTM'"),
    "module path": (module_path_out, "leaves the checkpoint folder"),
    "dense bias": (lambda f: edit(f / "2_Dense/config.json", bias=True), "Dense has a bias"),
    "activation": (
        lambda f: edit(f / "2_Dense/config.json", activation_function="torch.nn.Tanh"),
        "activation 'torch.nn.Tanh'",
    ),
    "pooling": (
        lambda f: edit(f / "1_Pooling/config.json", pooling_mode_max_tokens=True),
        "is not supported",
    ),
    "include prompt": (
        lambda f: edit(f / "1_Pooling/config.json", include_prompt=False),
        "include_prompt",
    ),
    "a mode that is a number": (
        lambda f: edit(f / "1_Pooling/config.json", pooling_mode=5),
        "pooling [5] is not supported",
    ),
    "a link to itself": (link_to_itself, "is a symbolic link to itself"),
    "a number of 5,000 digits": (
        lambda f: (f / "modules.json").write_text("9" * 5_000),
        "a number of thousands of digits",
    ),
    "endless shape": (
        lambda f: header(f, lambda text: text.replace('"shape":[', '"shape":[Infinity,')),
        "has no sound dtype, shape",
    ),
    "a dtype that is a list": (
        lambda f: header(f, lambda text: re.sub(r'"dtype":("\w+")', r'"dtype":[\1]', text)),
        "has dtype ['",
    ),
    "overlapping tensors": (
        lambda f: header(f, overlapping),
        "tensors 'linear.weight' and 'other' of ",
    ),
    "a tensor twice": (
        lambda f: header(f, lambda text: text.rstrip()[:-1] + "," + text[1:]),
        " twice; save it again",
    ),
    "hidden size": (lambda f: edit(f / "config.json", hidden_size="64"), "hidden_size is '64'"),
    "layer types": (lambda f: edit(f / "config.json", layer_types=["a"]), "layer_types"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_checkpoint_is_refused_in_one_line(broken: Path, name: str) -> None:
    damage, expected = CASES[name]
    damage(broken)
    with pytest.raises(BadInput) as raised:
        read_checkpoint(broken)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such checkpoint folder"):
        read_checkpoint(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="is a file"):
        read_checkpoint(tmp_path / "file")


def test_the_spelling_of_sentence_transformers_6_is_read(broken: Path) -> None:
    path = broken / "modules.json"
    text = path.read_text()
    for kind in ("Transformer", "Pooling", "Dense", "Normalize"):
        text = text.replace(
            f"sentence_transformers.models.{kind}",
            f"sentence_transformers.base.modules.{kind.lower()}.{kind}",
        )
    path.write_text(text)
    (broken / "1_Pooling/config.json").write_text(
        json.dumps({"embedding_dimension": 64, "pooling_mode": "mean", "include_prompt": True})
    )
    assert read_checkpoint(broken).pooling == "mean"


def test_rope_parameters_of_transformers_5_are_read(broken: Path) -> None:
    path = broken / "config.json"
    config = json.loads(path.read_text())
    del config["rope_theta"], config["rope_local_base_freq"], config["rope_scaling"]
    config["rope_parameters"] = {
        "full_attention": {"rope_type": "default", "rope_theta": 123.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 45.0},
    }
    path.write_text(json.dumps(config))
    a = read_checkpoint(broken).architecture
    assert a is not None
    assert (a.rope_theta, a.rope_local_theta) == (123.0, 45.0)


def test_a_halved_window_is_found_and_can_be_repaired(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "tiny", window=16)
    resave_damaged(folder)
    as_saved = read_checkpoint(folder)
    assert (as_saved.window_saved, as_saved.window_used) == (9, 9)
    finding = next(f for f in as_saved.findings if f.id == "window-halved")
    assert finding.severity == "warning"
    repaired = read_checkpoint(folder, window="repaired")
    assert repaired.window_used == 16
    assert repaired.architecture is not None
    assert repaired.architecture.sliding_window == 16


def test_a_tokenizer_that_disagrees_is_an_error(broken: Path) -> None:
    path = broken / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["model"]["merges"] = data["model"]["merges"][:5]
    path.write_text(json.dumps(data), encoding="utf-8")
    finding = next(f for f in read_checkpoint(broken).findings if f.id == "tokenizers-disagree")
    assert finding.severity == "error"


def test_another_attention_scale_is_a_finding(broken: Path) -> None:
    edit(broken / "config.json", query_pre_attn_scalar=24)
    assert any(f.id == "attention-scale" for f in read_checkpoint(broken).findings)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_largest_magnitude_is_found_in_every_dtype(tmp_path: Path, dtype: str) -> None:
    folder = make_tiny_checkpoint(tmp_path / "tiny", dtype=dtype)
    info = read_header(folder / "model.safetensors")["embed_tokens.weight"]
    assert largest_magnitude(info) == float(np.abs(read_tensor(info)).max())


BASE_CARD = """- **Output:**
    -   Numerical vector representations of input text data
    -   Output embedding dimension size of 768, with smaller options available
        (512, 256, or 128) via Matryoshka Representation Learning (MRL). MRL allows users to
        truncate the embedding
"""
LAWVAULT_CARD = """• Trained on 65,783 triplets (24, 144).
• Matryoshka Embeddings: Supports flexible output vector dimensions (768, 512, 256, 128).
"""


@pytest.mark.parametrize(
    ("card", "dims", "where"),
    [
        (BASE_CARD, (768, 512, 256, 128), "the prose of the model card names 768, 512, 256, 128"),
        (LAWVAULT_CARD, (768, 512, 256, 128), "the prose of the model card"),
        ('MRL: 256, 128\n{"matryoshka_dims": [768, 64]}', (768, 64), "the loss in the model card"),
        ("Matryoshka, of 2023, 2024 and 144, 24", (768,), "names none"),
        ("Matryoshka (1024, 512)", (768,), "names none"),  # of another model
        ("sizes 512, 256", (768,), "names none"),
        ("", (768,), "names none"),
    ],
)
def test_matryoshka_dims_are_read_from_the_card(
    tmp_path: Path, card: str, dims: tuple[int, ...], where: str
) -> None:
    (tmp_path / "README.md").write_text(card, "utf-8")
    found, finding = read_matryoshka_dims(tmp_path, 768)
    assert found == dims
    assert where in finding.evidence
