"""`lawvault parity` from end to end, with real ONNX artifacts."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.checkpoint.contents import Prompts
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.common import parse_prompts
from exporter.errors import BadInput
from exporter.parity.run import run_parity
from parity_tests.command import run
from parity_tests.tiny_checkpoint import make_tiny_checkpoint
from parity_tests.tiny_corpus import make_tiny_corpus

for module in ("sentence_transformers", "onnx", "onnxruntime"):
    pytest.importorskip(module)
from exporter.formats.onnx.export import export_onnx  # noqa: E402

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "default.toml"


@dataclass
class Desk:
    """A checkpoint, a corpus and an artifact on disk."""

    folder: Path

    def __post_init__(self) -> None:
        self.checkpoint = make_tiny_checkpoint(self.folder / "tiny")
        self.corpus = make_tiny_corpus(self.folder / "corpus")
        self.artifact = self.folder / "onnx-fp32"
        export_onnx(read_checkpoint(self.checkpoint), self.artifact)

    def arguments(self, *more: object) -> list[str]:
        named = ["--checkpoint", self.checkpoint, "--corpus", self.corpus, *more]
        return ["parity", str(self.artifact), *map(str, named)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def recipe(tmp_path: Path, old: str, new: str) -> Path:
    text = RECIPE.read_text("utf-8")
    assert old in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new), "utf-8")
    return path


def test_a_passing_artifact_exits_0_with_a_table_and_all_files(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("exporter.cli.progress.WORTH_A_LINE", 0.0)
    assert run(desk.arguments()) == 0
    shown = capsys.readouterr()
    assert "onnx-fp32" in shown.out
    assert "pass" in shown.out
    assert "torch fp32: 89 of 89" in shown.err
    written = sorted(p.name for p in Path("artifacts/tiny").iterdir())
    assert written == ["parity.html", "parity.json", "parity.md", "vectors"]
    assert run(desk.arguments()) == 0
    again = capsys.readouterr()
    assert "torch fp32, kept from before: 89 of 89" in again.err
    assert again.out == shown.out


def test_json_goes_to_stdout_alone_and_equals_parity_json(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert run(desk.arguments("--json", "--quiet", "--dims", "16", "--output", output)) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out == (output / "parity.json").read_text("utf-8")
    assert [d["dim"] for d in json.loads(shown.out)["artifacts"][0]["dims"]] == [16]


def test_a_closed_gate_exits_1_writes_the_report_and_names_the_limit(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = recipe(tmp_path, "cosine_p1_min = 0.985", "cosine_p1_min = 1.0")
    coarse, output = tmp_path / "onnx-q4", tmp_path / "out"
    export_onnx(read_checkpoint(desk.checkpoint), coarse, scheme="q4")
    arguments = desk.arguments("--recipe", strict, "--output", output, "--dims", "16", "--quiet")
    arguments[1] = str(coarse)
    assert run(arguments) == 1
    said = capsys.readouterr().out
    # The limit is torch bf16's own: nothing as near as that is refused.
    assert re.search(r"^onnx-q4 fail: dim 16: cosine 1st percentile .* 0\.9998", said, re.MULTILINE)
    assert (output / "parity.md").read_text("utf-8").startswith("**fail**")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--dims", "16,x"], "--dims '16,x'"),
        (["--dims", "999"], "--dims 999 is not between 1 and 64"),
        (["--corpus", "/nonexistent"], "no such corpus folder"),
        (["--recipe", "/nonexistent.toml"], "no such recipe"),
        (["--checkpoint", "/nonexistent/folder"], "no such checkpoint folder"),
        (["--prompts", "neither"], "neither a file nor"),
        (["--prompts", "query=ask: {text}"], "names query; give query= and document= once each"),
        (["--prompts", "query={text},document=d: {text}"], "was exported for the prompts"),
        (["--recipe", "lawvalt"], "unknown recipe 'lawvalt'; did you mean 'lawvault'"),
        (["--output", __file__], "is a file"),
        (["--window", "wide"], "wide"),
    ],
)
def test_wrong_usage_exits_2_with_one_line_and_writes_nothing(
    desk: Desk,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(desk.arguments("--quiet", *more)) == 2
    shown = capsys.readouterr()
    assert said in shown.err.splitlines()[-1]
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_artifact_exits_2(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["parity", str(desk.corpus), "--corpus", str(desk.corpus)]) == 2
    assert "has no manifest.json" in capsys.readouterr().err


def test_the_prompts_of_the_artifact_are_the_default(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = Prompts(query="ask: {text}", document="{title} {text}")
    artifact = tmp_path / "prompted"
    export_onnx(read_checkpoint(desk.checkpoint, prompts=prompts), artifact)
    arguments = desk.arguments("--json", "--quiet", "--dims", "64", "--output", tmp_path / "out")
    arguments[1] = str(artifact)
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["query_prompt"] == "ask: {text}"


def test_a_repaired_window_is_measured_against_the_saved_one(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(desk.checkpoint, damaged)
    config = json.loads((damaged / "config.json").read_text("utf-8"))
    (damaged / "config.json").write_text(json.dumps({**config, "sliding_window": 9}), "utf-8")
    export_onnx(read_checkpoint(damaged, window="repaired"), tmp_path / "repaired")
    arguments = [
        "parity",
        str(tmp_path / "repaired"),
        "--checkpoint",
        str(damaged),
        "--corpus",
        str(desk.corpus),
        "--output",
        str(tmp_path / "out"),
        "--dims",
        "64",
    ]
    assert run(arguments) == 1
    assert "window-halved" in capsys.readouterr().err
    text = (tmp_path / "out" / "parity.md").read_text("utf-8")
    assert "Built with the sliding window 16, the reference has 9" in text
    assert run([*arguments, "--window", "repaired", "--quiet"]) == 0


def test_the_checkpoint_of_the_environment_is_used_and_said(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAWVAULT_CHECKPOINT", str(desk.checkpoint))
    arguments = [
        "parity",
        str(desk.artifact),
        "--corpus",
        str(desk.corpus),
        "--dims",
        "16",
        "--output",
        str(tmp_path / "out"),
    ]
    assert run(arguments) == 0
    assert "($LAWVAULT_CHECKPOINT)" in capsys.readouterr().err


def test_prompts_are_read_inline_with_commas_and_from_toml_or_json(tmp_path: Path) -> None:
    expected = Prompts(query="a, b: {text}", document="{title}, {text}")
    assert parse_prompts("query=a, b: {text},document={title}, {text}") == expected
    toml, as_json = tmp_path / "p.toml", tmp_path / "p.json"
    toml.write_text('query = "a, b: {text}"\ndocument = "{title}, {text}"\n', "utf-8")
    as_json.write_text(json.dumps(expected.model_dump()), "utf-8")
    assert parse_prompts(str(toml)) == parse_prompts(str(as_json)) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("qery = 'x'", "did you mean 'query'"),
        ("query = 3\ndocument = 'd'", "query is not a string; quote it"),
        ("query = 'q'", "document is missing; give query and document"),
        ("query = '{text} {text}'\ndocument = 'd'", "query names {text} more than once"),
        ("query =", "is not valid TOML"),
    ],
)
def test_a_wrong_file_of_prompts_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(content, "utf-8")
    with pytest.raises(BadInput, match=said):
        parse_prompts(str(path))
    with pytest.raises(BadInput, match="names query and query; give query= and"):
        parse_prompts("query=a,query=b")


def test_one_report_of_different_checkpoints_is_refused_before_anything_is_embedded(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "onnx-fp32"
    export_onnx(read_checkpoint(make_tiny_checkpoint(tmp_path / "tiny", seed=9)), other)
    output = tmp_path / "out"
    assert run([*desk.arguments("--output", output), str(other)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "were made from different checkpoints (2_Dense/model.safetensors differs)" in line
    assert "two runs" in line
    assert not output.exists()


@pytest.mark.parametrize("value", ["-1", "x", "1.5", ""])
def test_a_pool_that_is_no_count_is_refused_in_one_line(
    desk: Desk, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    assert run(desk.arguments("--pool", value)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "--pool" in shown.err.splitlines()[-1]


def test_a_pool_stands_on_the_terminal_and_a_larger_one_than_the_corpus_is_the_whole(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(run_parity.__kwdefaults__ or {}, "pool_sample", 5)
    options = ["--cache", tmp_path / "vectors", "--output", tmp_path / "out"]
    code = run(desk.arguments("--pool", 1, *options))
    shown = capsys.readouterr()
    assert "of 60 documents, 30 questions" in " ".join(shown.out.split())
    assert "a pool of " in shown.out
    assert "the first 1 of each question by torch bf16 and by BM25" in shown.err
    written = json.loads((tmp_path / "out" / "parity.json").read_text("utf-8"))
    assert written["pool"]["first"] == 1
    assert code == (written["verdict"] != "pass")
    assert run(desk.arguments("--pool", 61, *options)) == 0
    shown = capsys.readouterr()
    assert "every document, so the corpus is judged whole" in shown.err
    assert "pooled" not in shown.out
