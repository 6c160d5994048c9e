"""lawvault lint on files broken one way each, and on bytes that make no sense."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gguf")

import gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.main import main
from exporter.errors import BadInput
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.lint import lint_gguf
from exporter.formats.gguf.options import GgufOptions
from exporter.formats.gguf.read import read_gguf_header
from parity_tests.rewritten_gguf import drop, put, rewrite
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

A = "gemma-embedding."
T = "tokenizer.ggml."


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lint")
    checkpoint = read_checkpoint(make_tiny_checkpoint(folder / "tiny"))
    manifest = export_gguf(checkpoint, folder / "g")
    return folder / "g" / manifest.entry


def poison(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        data = found[name][0]
        if data.dtype == np.uint8:  # a Q8_0 block begins with its scale
            data.reshape(-1)[:2] = np.array([value], np.float16).view(np.uint8)
        else:
            data.reshape(-1)[0] = value

    return change


def lose_the_one(found: dict[str, Any]) -> None:
    for name, entry in found.items():
        if name.endswith("norm.weight"):
            entry[0] = entry[0] - np.float32(1)


def coarse_dense(found: dict[str, Any]) -> None:
    for name in ("dense_2.weight", "dense_3.weight"):
        values = gguf.quants.dequantize(found[name][0], found[name][1])
        kind = gguf.GGMLQuantizationType.Q4_0
        found[name] = [gguf.quants.quantize(values, kind), kind]


BROKEN: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("no-dense", "error", "vectors lie in another space", {"tensors": drop("dense_3.weight")}),
    ("coarse-dense", "warning", "errors are the vector's", {"tensors": coarse_dense}),
    ("no-pooling", "error", "Ollama does not offer", {"keys": drop(A + "pooling_type")}),
    ("pooling", "error", "every vector is another", {"keys": put(A + "pooling_type", 2)}),
    ("pooling", "error", "no vector for a text", {"keys": put(A + "pooling_type", 0)}),
    ("add-eos", "error", "texts lose their EOS", {"keys": put(T + "add_eos_token", False)}),
    ("add-eos", "error", "texts lose their EOS", {"keys": drop(T + "add_eos_token")}),
    ("add-bos", "error", "texts lose their BOS", {"keys": put(T + "add_bos_token", False)}),
    ("space-prefix", "error", "begins with a space", {"keys": put(T + "add_space_prefix", True)}),
    ("space-prefix", "error", "begins with a space", {"keys": drop(T + "add_space_prefix")}),
    ("raw-norms", "error", "every layer is scaled wrongly", {"tensors": lose_the_one}),
    ("no-window", "error", "long texts get other", {"keys": drop(A + "attention.sliding_window")}),
    (
        "window-halved",
        "warning",
        "differ from the model",
        {"keys": put(A + "attention.sliding_window", 9)},
    ),
    ("no-context", "error", "fall back to 512", {"keys": drop(A + "context_length")}),
    ("no-vocabulary", "error", "cannot be tokenized", {"keys": drop(T + "tokens")}),
    ("no-scores", "error", "merge in another order", {"keys": drop(T + "scores")}),
    (
        "eos-out-of-range",
        "error",
        "the table does not have",
        {"keys": put(T + "eos_token_id", 99_999)},
    ),
    ("not-finite", "error", "are NaN", {"tensors": poison("blk.0.attn_norm.weight", np.nan)}),
    ("not-finite", "error", "are NaN", {"tensors": poison("blk.1.ffn_up.weight", np.inf)}),
    ("missing-tensors", "error", "does not load", {"tensors": drop("blk.3.attn_q.weight")}),
    ("file-type", "warning", "choose files by this name", {"keys": put("general.file_type", 15)}),
    ("no-architecture", "error", "does not load", {"keys": drop("general.architecture")}),
)


@pytest.mark.parametrize(("id", "severity", "effect", "change"), BROKEN)
def test_a_file_broken_one_way_is_named(
    sound: Path, tmp_path: Path, id: str, severity: str, effect: str, change: dict[str, Any]
) -> None:
    _, findings = lint_gguf(rewrite(sound, tmp_path / "broken.gguf", **change))
    found = {f.id: f for f in findings if f.severity != "info"}
    assert id in found, list(found)
    assert found[id].severity == severity
    assert effect in found[id].effect
    assert found[id].remedy


def test_a_vocabulary_that_is_too_short_is_named(sound: Path, tmp_path: Path) -> None:
    def shorten(found: dict[str, Any]) -> None:
        for name in ("tokens", "scores", "token_type"):
            found[T + name][0] = found[T + name][0][:-7]

    _, findings = lint_gguf(rewrite(sound, tmp_path / "short.gguf", keys=shorten))
    assert "vocabulary-size" in {f.id for f in findings}
    _, findings = lint_gguf(
        rewrite(
            sound,
            tmp_path / "scores.gguf",
            keys=lambda f: f[T + "scores"].__setitem__(0, f[T + "scores"][0][:-1]),
        )
    )
    assert "vocabulary-scores" in {f.id for f in findings}


def test_a_sound_file_has_nothing_but_its_types(sound: Path) -> None:
    _, findings = lint_gguf(sound)
    assert [f.id for f in findings] == ["types"]


def test_a_table_of_four_bits_is_a_warning(tiny: Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    options = GgufOptions(embedding_type="q4_0", imatrix="off")
    manifest = export_gguf(tiny, tmp_path / "g", scheme="q4_0", **vars(options))
    _, findings = lint_gguf(tmp_path / "g" / manifest.entry)
    assert "coarse-table" in {f.id for f in findings}


def test_another_architecture_gets_what_is_common(sound: Path, tmp_path: Path) -> None:
    def rename(found: dict[str, Any]) -> None:
        found["general.architecture"][0] = "llama"

    _, findings = lint_gguf(rewrite(sound, tmp_path / "llama.gguf", keys=rename))
    found = {f.id: f for f in findings}
    assert "'llama' is not one of embedding models alone" in found["architecture"].evidence
    assert found["no-pooling"].severity == "error"


def header(*, version: int = 3, tensors: int = 0, keys: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04rest", "it is no GGUF file"),
        (b"GGUF\x03", "truncated"),
        (header(version=2), "GGUF version 2"),
        (header(version=1), "GGUF version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (header(keys=1_000_000) + b"\0" * 64, "claims 1,000,000 keys"),
        (header(tensors=1 << 40), "claims 1,099,511,627,776 tensors"),
        (header(keys=1) + struct.pack("<Q", 1 << 60), "bytes long; the file is damaged"),
        (header(keys=1) + struct.pack("<Q", 1) + b"a" + struct.pack("<I", 77), "unknown type 77"),
        (
            header(keys=1) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 8, 1 << 50),
            "claims 1,125,899,906,842,624 strings",
        ),
        (
            header(keys=1) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 4, 1 << 50),
            "reaches past the end",
        ),
        (header(keys=1) + struct.pack("<Q", 1) + b"\xff", "not UTF-8"),
        (
            header(keys=2) + (struct.pack("<Q", 1) + b"a" + struct.pack("<II", 4, 5)) * 2,
            "is listed twice",
        ),
    ],
)
def test_bytes_that_are_no_gguf_are_refused_by_name(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as error:
        lint_gguf(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_tensor_past_the_end_is_an_error_with_its_name(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    shutil.copyfile(sound, path)
    last = max(read_gguf_header(path).tensors, key=lambda t: t.offset)
    with path.open("r+b") as handle:
        handle.truncate(last.offset + 5)
    _, findings = lint_gguf(path)
    assert findings[0].id == "past-the-end"
    assert last.name in findings[0].evidence


def test_the_header_reader_agrees_with_the_library(sound: Path) -> None:
    expected = gguf.GGUFReader(sound)
    found = read_gguf_header(sound)
    assert [(t.name, t.offset, t.ggml_type, t.shape) for t in found.tensors] == [
        (t.name, t.data_offset, int(t.tensor_type), tuple(int(n) for n in t.shape[::-1]))
        for t in expected.tensors
    ]
    for name, value in found.keys.items():
        contents = expected.fields[name].contents()
        if isinstance(value, list):
            assert [v.decode("utf-8", "replace") for v in value][:50] == contents[:50]
        else:
            np.testing.assert_array_equal(value, contents)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_damage_to_the_header_makes_lint_crash(
    sound: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(sound.read_bytes())
    end = min(t.offset for t in read_gguf_header(sound).tensors)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(4, end - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    path = tmp_path / "fuzz.gguf"
    path.write_bytes(content[:cut])
    try:
        _, findings = lint_gguf(path)
    except BadInput as error:
        assert str(path) in str(error)
    else:
        assert all(f.evidence for f in findings)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_the_command_exits_0_1_or_2(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("lint", str(sound)) == 0
    assert "errors 0, warnings 0" in capsys.readouterr().out
    broken = rewrite(sound, tmp_path / "b.gguf", keys=put(T + "add_eos_token", False))
    assert run("lint", str(broken), "--json") == 1
    described = json.loads(capsys.readouterr().out)
    assert described["findings"][0]["id"] == "add-eos"
    assert run("lint", str(tmp_path)) == 2
    assert "is no file" in capsys.readouterr().err
