"""`lawvault index`, `parity --index` and `evaluate` from end to end, on real LanceDB tables."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

for module in ("sentence_transformers", "onnx", "onnxruntime", "lancedb"):
    pytest.importorskip(module)
import lancedb  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.corpus.beir import read_documents  # noqa: E402
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.formats.onnx.runtime import OnnxEncoder  # noqa: E402
from exporter.runtimes.original import reference_source  # noqa: E402
from exporter.tables import run as index_run  # noqa: E402
from exporter.tables.columns import Columns  # noqa: E402
from exporter.tables.open_table import open_table  # noqa: E402
from parity_tests.command import run  # noqa: E402
from parity_tests.conftest import LAWVAULT_PROMPTS, REPOSITORY  # noqa: E402
from parity_tests.foreign_table import write_table  # noqa: E402
from parity_tests.tiny_checkpoint import make_tiny_checkpoint  # noqa: E402
from parity_tests.tiny_corpus import make_tiny_corpus  # noqa: E402

LAWVAULT_COLUMNS = ("--text-column", "content", "--title-column", "law")


class Desk:
    """Two checkpoints, a corpus, an artifact, and tables of the corpus made in torch."""

    def __init__(self, folder: Path) -> None:
        self.checkpoint = make_tiny_checkpoint(folder / "tiny")
        self.base = make_tiny_checkpoint(folder / "base", seed=1)
        self.corpus = make_tiny_corpus(folder / "corpus", documents=300)
        self.artifact, self.cache = folder / "onnx-fp32", folder / "vectors"
        checkpoint = read_checkpoint(self.checkpoint, prompts=LAWVAULT_PROMPTS)
        export_onnx(checkpoint, self.artifact)
        self.questions = folder / "questions.txt"
        asked = (self.corpus / "queries.jsonl").read_text("utf-8").splitlines()
        self.questions.write_text("\n".join(json.loads(line)["text"] for line in asked), "utf-8")
        self.documents = read_documents(self.corpus)
        self.tables = folder / "tables"
        self.encoder = reference_source(checkpoint, "float32").open()
        self.vectors = self.embed("title: {title} | text: {text}")
        self.table("laws_vectors", self.vectors)
        self.table("other_prompt", self.embed("title: none | text: {text}"))
        self.table("narrow", self.vectors[:, :20])

    def embed(self, prompt: str) -> Any:
        texts = [
            prompt.replace("{title}", title).replace("{text}", text)
            for title, text in self.documents.values()
        ]
        return self.encoder.encode(texts)

    def table(self, name: str, vectors: Any, *, texts: list[str] | None = None) -> None:
        titles = [title for title, _ in self.documents.values()]
        write_table(
            self.tables,
            vectors,
            name=name,
            ids=list(self.documents),
            titles=titles,
            texts=texts or [text for _, text in self.documents.values()],
        )

    def parity(self, output: Path, *more: object, index: Path | None = None) -> list[str]:
        named = [
            "--checkpoint",
            self.checkpoint,
            "--index",
            index or self.tables,
            "--output",
            output,
            "--cache",
            self.cache,
            "--queries",
            self.questions,
            *more,
        ]
        return ["parity", str(self.artifact), *map(str, named)]

    def index(self, output: Path, *more: object, corpus: Path | None = None) -> list[str]:
        named = ["--corpus", corpus or self.corpus, "--output", output, *more]
        return ["index", str(self.artifact), *map(str, named)]

    def evaluate(self, output: Path, *more: object) -> list[str]:
        named = [
            "--checkpoint",
            self.checkpoint,
            "--corpus",
            self.corpus,
            "--output",
            output,
            "--cache",
            self.cache,
            "--recipe",
            "lawvault",
            *more,
        ]
        return ["evaluate", *map(str, named)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def report_of(folder: Path, name: str = "parity-index.json") -> Any:
    return json.loads((folder / name).read_text("utf-8"))


def corpus_like(desk: Desk, folder: Path, rows: list[dict[str, str]]) -> Path:
    folder.mkdir()
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "corpus.jsonl").write_text(text, "utf-8")
    return folder


def rows_of(desk: Desk) -> list[dict[str, str]]:
    return [{"_id": i, "title": t, "text": x} for i, (t, x) in desk.documents.items()]


# parity --index


def test_other_token_ids_fail_before_any_vector(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = OnnxEncoder.token_ids

    def without_end(self: OnnxEncoder, texts: Any, *, prompt: str = "") -> list[list[int]]:
        return [row[:-1] for row in sound(self, texts, prompt=prompt)]

    monkeypatch.setattr(OnnxEncoder, "token_ids", without_end)
    assert run(desk.parity(tmp_path / "out", *LAWVAULT_COLUMNS, "--quiet")) == 1
    (artifact,) = report_of(tmp_path / "out")["artifacts"]
    assert artifact["searches"] == []
    assert "so vectors were not compared; the first: position" in artifact["reasons"][0]


def test_a_table_of_the_checkpoint_passes_with_its_texts_and_writes_three_files(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(desk.parity(tmp_path / "out", *LAWVAULT_COLUMNS)) == 0
    shown = capsys.readouterr()
    assert "origin of the table: verified" in shown.out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "parity-index.json",
        "parity-index.md",
        "parity-index.run.json",
    ]
    report = report_of(tmp_path / "out")
    # The first 200, and the longest.
    assert (report["verdict"], report["origin"]["rows"]) == ("pass", 208)
    searches = report["artifacts"][0]["searches"]
    assert [s["metric"] for s in searches] == ["l2", "cosine"]
    assert all(s["overlap_at_10"]["mean"] >= 0.99 for s in searches)
    text = (tmp_path / "out" / "parity-index.md").read_text("utf-8")
    assert text.startswith("**pass**: onnx-fp32 may ask the table laws_vectors")


def test_the_report_of_one_table_version_is_the_same_to_the_byte(
    desk: Desk, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        run(desk.parity(tmp_path / name, "--quiet", *LAWVAULT_COLUMNS))
    one, two = ((tmp_path / name / "parity-index.json").read_bytes() for name in ("one", "two"))
    assert one == two


def test_without_texts_the_origin_is_unverified_and_nothing_passes(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(desk.parity(tmp_path / "out", "--quiet")) == 1
    said = capsys.readouterr().out
    assert "unverified origin" in said.splitlines()
    assert "pass --text-column" in said
    assert report_of(tmp_path / "out")["artifacts"][0]["verdict"] == "pass"


def test_parquet_and_npy_are_judged_as_the_same_lancedb_table(desk: Desk, tmp_path: Path) -> None:
    ids, pairs = list(desk.documents), list(desk.documents.values())
    parquet, npy = tmp_path / "t.parquet", tmp_path / "t.npy"
    columns = {"_id": ids, "title": [t for t, _ in pairs], "text": [x for _, x in pairs]}
    pq.write_table(pa.table({**columns, "vector": list(desk.vectors)}), parquet)
    np.save(npy, desk.vectors)
    rows = [{"_id": i, "title": t, "text": x} for i, (t, x) in desk.documents.items()]
    npy.with_suffix(".jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    assert run(desk.parity(tmp_path / "lance", *LAWVAULT_COLUMNS, "--quiet")) == 0
    wanted = report_of(tmp_path / "lance")
    for file in (parquet, npy):
        assert run(desk.parity(tmp_path / file.suffix[1:], "--quiet", index=file)) == 0
        found = report_of(tmp_path / file.suffix[1:])
        assert found["origin"]["status"] == "verified"
        for key in ("rows", "dim", "artifacts", "noise_floor", "verdict"):
            assert found[key] == wanted[key], key


def test_another_document_prompt_closes_the_gate_and_the_right_one_is_named(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = desk.parity(tmp_path / "out", "--table", "other_prompt", *LAWVAULT_COLUMNS)
    assert run([*arguments, "--quiet"]) == 1
    said = capsys.readouterr().out
    assert "hold the vectors of texts with the prompt 'title: none | text: {text}'" in said
    assert "pass --document-prompt 'title: none | text: {text}'" in said
    assert run([*arguments, "--document-prompt", "title: none | text: {text}"]) == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_table_that_torch_made_is_verified_however_strict_the_recipe(
    desk: Desk, tmp_path: Path, dtype: str
) -> None:
    """Who runs the checkpoint in bfloat16 has made their table in bfloat16."""
    texts = [f"title: {title} | text: {text}" for title, text in desk.documents.values()]
    encoder = reference_source(
        read_checkpoint(desk.checkpoint, prompts=LAWVAULT_PROMPTS), dtype
    ).open()
    desk.table(f"made_in_{dtype}", encoder.encode(texts))
    recipe = (REPOSITORY / "recipes" / "default.toml").read_text("utf-8")
    strict = tmp_path / "recipe.toml"
    strict.write_text(recipe.replace("cosine_p1_min = 0.9996", "cosine_p1_min = 1.0"), "utf-8")
    run(
        desk.parity(
            tmp_path / "out",
            "--table",
            f"made_in_{dtype}",
            *LAWVAULT_COLUMNS,
            "--recipe",
            strict,
            "--quiet",
        )
    )
    origin = report_of(tmp_path / "out")["origin"]
    assert (origin["status"], origin["reasons"]) == ("verified", [])
    assert origin["limit"] == pytest.approx(1 - 2 * (1 - origin["noise"]))


def test_another_checkpoint_closes_the_gate(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_onnx(read_checkpoint(desk.base, prompts=LAWVAULT_PROMPTS), tmp_path / "base")
    arguments = desk.parity(tmp_path / "out", *LAWVAULT_COLUMNS, "--quiet")
    arguments[1], arguments[3] = str(tmp_path / "base"), str(desk.base)
    assert run(arguments) == 1
    assert "no usual prompt fits better" in capsys.readouterr().out


def test_a_few_texts_changed_since_close_the_gate_and_are_counted(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [text for _, text in desk.documents.values()]
    for at in (3, 50, 120, 150):
        texts[at] = "第九条 修订后的全文。"
    desk.table("stale", desk.vectors, texts=texts)
    arguments = desk.parity(tmp_path / "out", "--table", "stale", *LAWVAULT_COLUMNS, "--quiet")
    assert run(arguments) == 1
    assert "4 of 208 rows do not hold the vector of their text" in capsys.readouterr().out


def test_limits_of_the_recipe_close_the_gate(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (REPOSITORY / "recipes" / "default.toml").read_text("utf-8")
    strict = tmp_path / "recipe.toml"
    strict.write_text(text.replace("cosine_p1_min = 0.985", "cosine_p1_min = 1.0"), "utf-8")
    export_onnx(
        read_checkpoint(desk.checkpoint, prompts=LAWVAULT_PROMPTS),
        tmp_path / "onnx-q4",
        scheme="q4",
    )
    arguments = desk.parity(tmp_path / "out", *LAWVAULT_COLUMNS, "--recipe", strict, "--quiet")
    arguments[1] = str(tmp_path / "onnx-q4")
    assert run(arguments) == 1
    assert "onnx-q4 fail: cosine 1st percentile" in capsys.readouterr().out


def test_a_table_written_to_during_the_run_is_read_at_its_first_version_and_said(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.table("busy", desk.vectors)
    run(desk.parity(tmp_path / "calm", "--table", "busy", *LAWVAULT_COLUMNS, "--quiet"))
    search = index_run.search_table

    def searched_while_written(*arguments: Any, **named: Any) -> Any:
        lancedb.connect(desk.tables).open_table("busy").delete("chunk_id > 'd100'")
        return search(*arguments, **named)

    monkeypatch.setattr(index_run, "search_table", searched_while_written)
    capsys.readouterr()
    assert run(desk.parity(tmp_path / "out", "--table", "busy", *LAWVAULT_COLUMNS)) == 0
    said = capsys.readouterr().err
    assert "written to during the run (version 1 is now 2); every figure is for version 1" in said
    assert report_of(tmp_path / "out") == report_of(tmp_path / "calm")
    assert report_of(tmp_path / "out", "parity-index.run.json")["table_version_at_end"] == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--table", "narrow"], "vectors of 20 dimensions, 'tiny' gives 64, 32, 16"),
        (["--table", "laws_vector"], "did you mean 'laws_vectors'"),
        (["--vector-column", "vec"], "did you mean 'vector'"),
        (["--title-column", "law"], "--title-column without --text-column"),
        (["--corpus", "."], "leave out --corpus, --dims"),
        (["--dims", "16"], "leave out --corpus, --dims"),
        (["--pool", "5"], "leave out --corpus, --dims and --pool"),
        (["--queries", "/nonexistent.txt"], "no such file of questions"),
        (["--index", "/nonexistent"], "no such index"),
    ],
)
def test_wrong_usage_of_a_table_exits_2_with_one_line_and_writes_nothing(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert run([*desk.parity(tmp_path / "out"), "--quiet", *more]) == 2
    shown = capsys.readouterr()
    assert said in shown.err.splitlines()[-1]
    assert shown.out == ""
    assert not (tmp_path / "out").exists()


def test_options_of_a_table_without_a_table_and_a_table_without_questions_exit_2(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["parity", str(desk.artifact), "--checkpoint", str(desk.checkpoint), "--quiet"]
    for more, said in (
        (["--metric", "l2"], "need --index PATH"),
        (["--text-column", "content"], "need --index PATH"),
        (["--index", str(desk.tables)], "pass --queries FILE"),
    ):
        assert run([*arguments, *more]) == 2
        assert said in capsys.readouterr().err


def test_without_lancedb_the_install_line_is_given_and_the_exit_code_is_3(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    for arguments in (desk.parity(tmp_path / "a"), desk.index(tmp_path / "b")):
        assert run([*arguments, "--quiet"]) == 3
        assert "pip install 'lawvault-exporter[index]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# index


def test_a_table_made_here_is_known_by_its_metadata_and_its_texts(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(desk.index(tmp_path / "db", "--ivf-pq", "--json", "--quiet")) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["rows"], made["added"], made["approximate"]) == (300, 300, True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["db", "db.vectors"]
    out = tmp_path / "out"
    assert run(desk.parity(out, "--quiet", index=tmp_path / "db")) == 0
    origin = report_of(out)["origin"]
    assert origin["status"] == "verified"
    assert origin["metadata"]["space"]["artifact"] == "onnx-fp32"
    assert origin["metadata"]["space"]["probes"] is None
    (approximate,) = report_of(out, "parity-index.run.json")["approximate"]
    recall = {s["name"]: s["recall_at_10"]["mean"] for s in approximate["searches"]}
    assert set(recall) == {"torch fp32", "torch bf16", "onnx-fp32"}
    assert all(0.1 < value < 1 for value in recall.values())


def test_metadata_of_another_prompt_or_checkpoint_refutes_a_table(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(desk.index(tmp_path / "db", "--quiet"))
    arguments = desk.parity(tmp_path / "out", "--quiet", index=tmp_path / "db")
    assert run([*arguments, "--document-prompt", "{text}"]) == 1
    assert (
        "made with the document prompt 'title: {title} | text: {text}'" in capsys.readouterr().out
    )
    export_onnx(read_checkpoint(desk.base, prompts=LAWVAULT_PROMPTS), tmp_path / "base")
    arguments[1], arguments[3] = str(tmp_path / "base"), str(desk.base)
    assert run(arguments) == 1
    assert "its metadata names 'tiny', whose " in capsys.readouterr().out


def test_a_narrower_table_is_asked_with_narrower_questions(desk: Desk, tmp_path: Path) -> None:
    assert run(desk.index(tmp_path / "db", "--dim", "16", "--quiet")) == 0
    assert run(desk.parity(tmp_path / "out", "--quiet", index=tmp_path / "db")) == 0
    assert report_of(tmp_path / "out")["dim"] == 16


def test_only_new_documents_are_added_and_an_unchanged_corpus_adds_none(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(desk)
    part = corpus_like(desk, tmp_path / "part", rows[:280])
    run(desk.index(tmp_path / "db", "--ivf-pq", "--quiet", corpus=part))
    for added in (20, 0):
        capsys.readouterr()
        assert run(desk.index(tmp_path / "db", "--quiet", "--json")) == 0
        made = json.loads(capsys.readouterr().out)
        assert (made["rows"], made["added"], made["kept"]) == (300, added, 300 - added)
    table = open_table(tmp_path / "db", table="laws_vectors", columns=Columns())
    assert table.origin is not None and table.origin.documents == 300
    assert table.vector_indexes()[0].unindexed_rows == 0
    assert sorted(i for block in table.ids() for i in block) == sorted(desk.documents)


def test_a_corpus_changed_since_is_refused_until_forced(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(desk.index(tmp_path / "db", "--quiet"))
    rows = rows_of(desk)[1:]
    rows[4]["text"] += "（修订）"
    changed = corpus_like(desk, tmp_path / "changed", rows)
    assert run(desk.index(tmp_path / "db", "--quiet", corpus=changed)) == 2
    said = capsys.readouterr().err
    assert "1 documents have another text, 1 are gone, first 'd005'; pass --force" in said
    assert run(desk.index(tmp_path / "db", "--force", corpus=changed)) == 0
    shown = capsys.readouterr()
    assert "299 rows" in shown.out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--dim", "20"], "was trained for 64, 32, 16"),
        (["--table", "a/b"], "is no name"),
        (["--id-column", "text"], "two names besides title and text"),
        (["--corpus", "/nonexistent"], "no such corpus folder"),
        (["--output", __file__], "is a file"),
    ],
)
def test_wrong_usage_of_index_exits_2_and_writes_nothing(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert run([*desk.index(tmp_path / "db"), "--quiet", *more]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_or_table_of_someone_else_is_not_written_to(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = open_table(desk.tables, table="laws_vectors", columns=Columns()).version
    assert run(desk.index(desk.tables, "--quiet")) == 2
    assert "was not made by this version of 'lawvault index'" in capsys.readouterr().err
    assert open_table(desk.tables, table="laws_vectors", columns=Columns()).version == before
    assert run(desk.index(desk.corpus, "--quiet")) == 2
    assert "holds other files and no LanceDB table" in capsys.readouterr().err
    few = corpus_like(desk, tmp_path / "few", rows_of(desk)[:9])
    assert run(desk.index(tmp_path / "db", "--ivf-pq", "--quiet", corpus=few)) == 2
    assert "too few for --ivf-pq" in capsys.readouterr().err


def test_a_run_killed_in_the_middle_leaves_no_table_and_goes_on_to_the_same_bits(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"_id": f"{row['_id']}-{copy}", "title": row["title"], "text": f"{row['text']} {copy}"}
        for row in rows_of(desk)
        for copy in range(12)
    ]
    corpus = corpus_like(desk, tmp_path / "long", rows)
    arguments = desk.index(tmp_path / "db", "--quiet", corpus=corpus)
    kept = tmp_path / "db.vectors"
    command = [sys.executable, "-m", "exporter", *arguments]
    with subprocess.Popen(command, cwd=REPOSITORY, env=dict(os.environ)) as child:
        deadline = time.monotonic() + 60
        while not any(p.stat().st_size for p in kept.glob("*.keys")):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "db").exists()
    done = sum(p.stat().st_size for p in kept.glob("*.keys")) // 36
    assert 0 < done < len(rows)
    assert run(arguments) == 0
    assert run(desk.index(tmp_path / "whole", "--quiet", corpus=corpus)) == 0
    resumed, whole = (
        [
            (ids, vectors.tobytes())
            for ids, vectors in open_table(
                tmp_path / name, table="laws_vectors", columns=Columns()
            ).vectors()
        ]
        for name in ("db", "whole")
    )
    assert resumed == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "db",
        "db.vectors",
        "long",
        "whole",
        "whole.vectors",
    ]


# evaluate


def test_evaluate_prints_the_cards_table_against_a_base_and_writes_every_rank(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = tmp_path / "ranks.csv"
    more = ["--against", desk.base, "--details", details, "--quiet"]
    assert run(desk.evaluate(tmp_path / "out", *more)) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("Hit@10", "Top-1", "MRR@10", "base", "tiny", "points"))
    found = report_of(tmp_path / "out", "evaluation.json")
    ours, theirs = found["model"]["mrr_at_10"]["mean"], found["base"]["mrr_at_10"]["mean"]
    assert found["differences"]["mrr_at_10"]["mean"] == pytest.approx(ours - theirs, abs=1e-12)
    with details.open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["id"] for row in rows] == [f"q{i:03}" for i in range(30)]
    ranks = [1 / int(row["rank"]) if row["rank"] else 0.0 for row in rows]
    assert sum(ranks) / 30 == pytest.approx(ours, abs=1e-12)
    assert (tmp_path / "out" / "evaluation.md").read_text("utf-8").count("| Top-1 |") == 1


def test_evaluate_gives_json_alone_and_prints_every_question_where_asked(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(desk.evaluate(tmp_path / "out", "--json", "--quiet")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["base"], len(found["ranks"])) == (None, 30)
    assert run(desk.evaluate(tmp_path / "out", "--details", "-", "--quiet")) == 0
    assert capsys.readouterr().out.count("怎么办") >= 30
    ranks = tmp_path / "ranks.json"
    assert run(desk.evaluate(tmp_path / "out", "--details", ranks, "--quiet")) == 0
    assert json.loads(ranks.read_text("utf-8")) == found["ranks"]


def test_evaluate_on_a_table_of_the_corpus_gives_what_the_corpus_gives(
    desk: Desk, tmp_path: Path
) -> None:
    run(desk.evaluate(tmp_path / "corpus", "--quiet"))
    more = ["--index", desk.tables, *LAWVAULT_COLUMNS, "--quiet"]
    assert run(desk.evaluate(tmp_path / "table", *more)) == 0
    a, b = (report_of(tmp_path / name, "evaluation.json") for name in ("corpus", "table"))
    assert b["origin"]["status"] == "verified"
    assert b["ranks"] == a["ranks"]


def test_evaluate_refuses_a_table_of_another_corpus_prompt_or_text(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [text for _, text in desk.documents.values()]
    texts[3] = "第九条 修订后的全文。"
    desk.table("revised", desk.vectors, texts=texts)
    write_table(desk.tables, desk.vectors[:5], name="part", texts=texts[:5], titles=texts[:5])
    for table, code, said in (
        ("revised", 2, "the corpus changed since it was made: 1 documents have another text"),
        ("part", 2, "the table lacks 295 of its documents and has 0 others"),
        ("other_prompt", 1, "pass --document-prompt 'title: none | text: {text}'"),
        ("narrow", 2, "vectors of 20 dimensions"),
    ):
        more = ["--index", desk.tables, *LAWVAULT_COLUMNS, "--table", table, "--quiet"]
        assert run(desk.evaluate(tmp_path / "out", *more)) == code
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--details", "ranks.txt"], "name a .csv or .json file"),
        (["--details", "/nonexistent/ranks.csv"], "cannot be written"),
        (["--against", "/nonexistent/folder"], "no such checkpoint folder"),
        (["--text-column", "content"], "need --index PATH"),
        (["--output", __file__], "is a file"),
    ],
)
def test_wrong_usage_of_evaluate_exits_2(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert run([*desk.evaluate(tmp_path / "out"), "--quiet", *more]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
