"""What llama.cpp would compute otherwise, or abort on, is refused before anything is written."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

pytest.importorskip("gguf")

import gguf

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.safetensors_file import read_header, read_tensor
from exporter.errors import BadInput, MissingDependency
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.tokenizer_limits import check_tokenizer
from parity_tests.layout import USER_DEFINED, write_tokenizer_files
from parity_tests.tiny_checkpoint import SENTENCES, make_tiny_checkpoint
from parity_tests.unit.test_read_checkpoint import edit, with_weights


def reader(folder: Path) -> gguf.GGUFReader:
    return gguf.GGUFReader(next(folder.glob("*.gguf")))


def test_a_model_without_a_full_layer_is_refused_because_llama_cpp_aborts(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(make_tiny_checkpoint(tmp_path / "tiny", layers=5))
    with pytest.raises(BadInput, match=r"none with full attention; llama\.cpp aborts"):
        export_gguf(checkpoint, tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_a_causal_model_is_refused(broken: Path, tmp_path: Path) -> None:
    edit(broken / "config.json", use_bidirectional_attention=False)
    with pytest.raises(BadInput, match="attention is causal"):
        export_gguf(read_checkpoint(broken), tmp_path / "g")


def test_an_unknown_type_names_the_nearest(tiny: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'q8_0'"):
        export_gguf(tiny, tmp_path / "g", scheme="q8")


def test_a_folder_that_is_not_empty_is_refused(tiny: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        export_gguf(tiny, tmp_path / "g")
    assert [p.name for p in (tmp_path / "g").iterdir()] == ["mine.txt"]


def test_a_missing_gguf_library_says_how_to_install_it(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"lawvault-exporter\[gguf\]"):
        export_gguf(tiny, tmp_path / "g")


def test_front_matter_that_is_not_yaml_is_one_line(broken: Path, tmp_path: Path) -> None:
    (broken / "README.md").write_text("---\ntags: [unclosed\n---\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"front matter of .*README\.md"):
        export_gguf(read_checkpoint(broken), tmp_path / "g")
    assert not (tmp_path / "g").exists()


def train_other_tokenizer(folder: Path, **options: object) -> None:
    """Replace tokenizer.model by one of the same trainer with other options."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_prefix=str(folder / "tokenizer"),
        **{
            "model_type": "bpe",
            "vocab_size": 512,
            "byte_fallback": True,
            "add_dummy_prefix": False,
            "remove_extra_whitespaces": False,
            "normalization_rule_name": "identity",
            "pad_id": 0,
            "eos_id": 1,
            "bos_id": 2,
            "unk_id": 3,
            "user_defined_symbols": list(USER_DEFINED),
            "hard_vocab_limit": False,
            "minloglevel": 2,
            **options,
        },
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"add_dummy_prefix": True}, "puts a space in front"),
        ({"normalization_rule_name": "nfkc"}, "takes texts as they are"),
        ({"remove_extra_whitespaces": True}, "takes texts as they are"),
        ({"byte_fallback": False}, "0 byte pieces of 256"),
    ],
)
def test_a_tokenizer_that_llama_cpp_does_not_have_is_refused(
    broken: Path, options: dict[str, object], expected: str
) -> None:
    train_other_tokenizer(broken, **options)
    with pytest.raises(BadInput, match=expected):
        check_tokenizer(broken)


def test_a_unigram_tokenizer_is_refused(broken: Path) -> None:
    path = broken / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["model"]["type"] = "Unigram"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(BadInput, match="is a Unigram model"):
        check_tokenizer(broken)


def test_a_bos_that_the_configs_name_otherwise_is_refused(broken: Path) -> None:
    edit(broken / "tokenizer_config.json", bos_token="<pad>")
    with pytest.raises(BadInput, match="as BOS and EOS"):
        check_tokenizer(broken)


def test_a_missing_tokenizer_model_is_refused(broken: Path) -> None:
    (broken / "tokenizer.model").unlink()
    with pytest.raises(BadInput, match="wrong vocabulary"):
        check_tokenizer(broken)


def test_the_tokenizer_of_the_layout_passes(tiny: Checkpoint, broken: Path) -> None:
    check_tokenizer(tiny.path)
    write_tokenizer_files(broken)
    check_tokenizer(broken)


def test_eos_is_written_though_the_config_denies_it(broken: Path, tmp_path: Path) -> None:
    """tokenizer.json decides what the reference reads; gguf 0.19.0 alone would follow the config,
    and the cosine to torch would fall to 0.76."""
    edit(broken / "tokenizer_config.json", add_eos_token=False, add_bos_token=False)
    export_gguf(read_checkpoint(broken), tmp_path / "g")
    fields = reader(tmp_path / "g").fields
    for name in ("add_bos_token", "add_eos_token"):
        assert fields[f"tokenizer.ggml.{name}"].contents() is True
    assert fields["tokenizer.ggml.add_space_prefix"].contents() is False


def test_norms_of_an_fp16_checkpoint_keep_every_bit(tmp_path: Path) -> None:
    """Upstream adds the 1 in fp16 and rounds; here the gain is exact."""
    folder = make_tiny_checkpoint(tmp_path / "tiny", dtype="float16")
    export_gguf(read_checkpoint(folder), tmp_path / "g", scheme="f32")
    info = read_header(folder / "model.safetensors")["layers.0.input_layernorm.weight"]
    stored = next(t for t in reader(tmp_path / "g").tensors if t.name == "blk.0.attn_norm.weight")
    np.testing.assert_array_equal(stored.data, read_tensor(info) + np.float32(1))


def test_a_repaired_window_is_written_and_recorded(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "tiny", window=9)
    for choice, raw in (("as-saved", 9), ("repaired", 16)):
        checkpoint = read_checkpoint(folder, window=choice)  # type: ignore[arg-type]
        manifest = export_gguf(checkpoint, tmp_path / choice)
        field = reader(tmp_path / choice).fields["gemma-embedding.attention.sliding_window"]
        assert field.contents() == raw == manifest.window.used


@pytest.mark.parametrize(
    ("value", "type_name", "expected"),
    [(1e6, "f16", "65,504"), (1e8, "q8_0", "fp16 scales of Q8_0")],
)
def test_a_weight_beyond_fp16_or_its_scales_is_refused(
    broken: Path, tmp_path: Path, value: float, type_name: str, expected: str
) -> None:
    with_weights(broken, lambda t: t["embed_tokens.weight"].__setitem__((7, 7), value))
    with pytest.raises(BadInput, match=expected):
        export_gguf(read_checkpoint(broken), tmp_path / "g", scheme=type_name)
    assert not (tmp_path / "g").exists()


def test_progress_counts_every_weight(tiny: Checkpoint, tmp_path: Path) -> None:
    seen: list[int] = []
    export_gguf(tiny, tmp_path / "g", stages=lambda label, total: seen.append)
    assert sum(seen) == tiny.parameters


def no_damage(folder: Path) -> None:
    del folder


def without_dense(folder: Path) -> None:
    path = folder / "modules.json"
    modules = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps([m for m in modules if not m["type"].endswith("Dense")]))


@pytest.mark.parametrize(("change", "dense"), [(no_damage, 2), (without_dense, 0)])
def test_a_model_with_both_dense_modules_or_none_is_written(
    broken: Path, tmp_path: Path, change: Callable[[Path], None], dense: int
) -> None:
    change(broken)
    export_gguf(read_checkpoint(broken), tmp_path / "g")
    names = [t.name for t in reader(tmp_path / "g").tensors]
    assert sum(name.startswith("dense_") for name in names) == dense
