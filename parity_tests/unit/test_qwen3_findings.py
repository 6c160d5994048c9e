"""What `inspect` says of a checkpoint in Qwen3-Embedding's layout, and what is refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("openvino")

from exporter.checkpoint.contents import Finding, Prompts
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.main import main
from exporter.errors import BadInput
from exporter.formats.gguf.export import export_gguf
from exporter.formats.onnx.export import export_onnx
from exporter.formats.openvino.export import export_openvino
from exporter.vocabulary.make import make_vocabulary
from parity_tests.tiny_qwen3 import QUERY, make_tiny_qwen3


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_qwen3(tmp_path_factory.mktemp("qwen3") / "tiny-qwen3")


@pytest.fixture
def broken(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "broken"))


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def findings(folder: Path, *, prompts: Prompts | None = None) -> dict[str, Finding]:
    return {f.id: f for f in read_checkpoint(folder, prompts=prompts).findings}


def test_a_sound_checkpoint_has_no_warning(sound: Path) -> None:
    found = findings(sound)
    assert {f.severity for f in found.values()} == {"info"}
    assert {"causal-attention", "end-token", "instruction", "padding-side"} <= found.keys()
    checkpoint = read_checkpoint(sound)
    assert checkpoint.pooling == "lasttoken"
    assert checkpoint.prompts.render_query("押金") == QUERY + "押金"
    assert checkpoint.prompts.render_document("押金", title="") == "押金"


def test_a_missing_end_token_is_an_error(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tiny_qwen3(broken, ends=False)
    found = findings(broken)["end-token"]
    assert found.severity == "error"
    assert "last-token pooling lies on whatever token a text ends with" in found.effect
    with pytest.raises(SystemExit) as left:
        main(["inspect", "--checkpoint", str(broken)])
    assert left.value.code == 1
    assert "end-token" in capsys.readouterr().out
    with pytest.raises(BadInput, match="does not put"):
        export_gguf(read_checkpoint(broken), tmp_path / "a")


def test_mean_pooling_is_a_warning(broken: Path) -> None:
    config = {"pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": False}
    edit(broken / "1_Pooling" / "config.json", **config)
    found = findings(broken)["pooling"]
    assert found.severity == "warning"
    assert "trained with lasttoken" in found.evidence


def test_the_spelling_of_sentence_transformers_6_is_read(broken: Path) -> None:
    (broken / "1_Pooling" / "config.json").write_text(
        '{"embedding_dimension": 64, "pooling_mode": "lasttoken", "include_prompt": true}'
    )
    assert read_checkpoint(broken).pooling == "lasttoken"


def test_pooling_by_the_first_token_is_refused(broken: Path) -> None:
    config = {"pooling_mode_cls_token": True, "pooling_mode_lasttoken": False}
    edit(broken / "1_Pooling" / "config.json", **config)
    with pytest.raises(BadInput, match="pools by 'cls'; this architecture is supported with"):
        read_checkpoint(broken)


@pytest.mark.parametrize("side,severity", [("left", "info"), ("right", "warning")])
def test_the_padding_side_is_said(broken: Path, side: str, severity: str) -> None:
    edit(broken / "tokenizer_config.json", padding_side=side)
    found = findings(broken)["padding-side"]
    assert (found.severity, found.evidence) == (
        severity,
        f"tokenizer_config.json pads on the {side}",
    )


@pytest.mark.parametrize(
    "query,document,said",
    [
        ("{text}", "{text}", "is no instruction"),
        ("query: ", "passage: ", "is no instruction"),
        (QUERY, QUERY, "the document prompt"),
    ],
)
def test_a_missing_instruction_is_a_warning(
    broken: Path, query: str, document: str, said: str
) -> None:
    found = findings(broken, prompts=Prompts(query=query, document=document))["instruction"]
    assert found.severity == "warning"
    assert said in found.evidence


def test_a_checkpoint_saved_without_prompts_lacks_the_instruction(broken: Path) -> None:
    (broken / "config_sentence_transformers.json").unlink()
    assert findings(broken)["instruction"].severity == "warning"


@pytest.mark.parametrize(
    "change,why",
    [
        ({"use_sliding_window": True, "sliding_window": 16}, "use_sliding_window is true"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types names sliding"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"attention_bias": True}, "attention_bias is true"),
        ({"is_causal": False}, "attention is bidirectional"),
        ({"use_bidirectional_attention": True}, "attention is bidirectional"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "RoPE scaling is yarn"),
    ],
)
def test_what_is_not_built_is_named_and_refused(
    broken: Path, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    edit(broken / "config.json", **change)
    found = findings(broken)["architecture-not-built"]
    assert why in found.evidence
    for export in (export_onnx, export_gguf, export_openvino):
        with pytest.raises(BadInput, match=why.split("'")[0]):
            export(read_checkpoint(broken), tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "change,why",
    [
        ({"num_key_value_heads": 3}, "4 attention heads do not divide by 3 KV heads"),
        ({"head_dim": 31}, "head_dim is 31"),
        ({"num_hidden_layers": 1001}, "more than 1000"),
        ({"num_hidden_layers": "three"}, "num_hidden_layers is 'three'"),
        ({"rope_theta": -1}, "rope_theta is -1"),
        ({"vocab_size": 511}, "tensor 'embed_tokens.weight'"),
        ({"layer_types": ["full_attention"]}, "layer_types must name 3 layers"),
    ],
)
def test_a_broken_config_is_refused_by_its_key(
    broken: Path, change: dict[str, Any], why: str
) -> None:
    edit(broken / "config.json", **change)
    with pytest.raises(BadInput, match=why):
        read_checkpoint(broken)


def test_the_spelling_of_transformers_5_is_read(broken: Path) -> None:
    config = json.loads((broken / "config.json").read_text("utf-8"))
    del config["rope_theta"], config["rope_scaling"]
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 123456.0}
    (broken / "config.json").write_text(json.dumps(config), "utf-8")
    architecture: Any = read_checkpoint(broken).architecture
    assert architecture.rope_theta == 123456.0


def test_a_stray_tensor_is_refused(broken: Path) -> None:
    rename = broken / "model.safetensors"
    data = rename.read_bytes()
    rename.write_bytes(data.replace(b'"norm.weight"', b'"gone.weight"', 1))
    with pytest.raises(BadInput, match=r"tensor 'norm\.weight' is missing"):
        read_checkpoint(broken)


def test_a_vocabulary_of_bytes_cannot_be_cut(sound: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="merges bytes instead of characters"):
        make_vocabulary(read_checkpoint(sound), tmp_path / "v", counted=(), classes=())
    assert not (tmp_path / "v").exists()
