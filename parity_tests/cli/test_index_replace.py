"""`lawvault index --replace`: judged, one commit, a way back, and nobody's document is lost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

for module in ("onnx", "onnxruntime", "lancedb", "sentence_transformers"):
    pytest.importorskip(module)
import lancedb  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.formats.onnx.runtime import OnnxEncoder  # noqa: E402
from exporter.tables import replace as replacing  # noqa: E402
from exporter.tables.columns import Columns  # noqa: E402
from exporter.tables.open_table import open_table, origin_in  # noqa: E402
from parity_tests.command import run  # noqa: E402
from parity_tests.conftest import LAWVAULT_PROMPTS  # noqa: E402
from parity_tests.tiny_checkpoint import make_tiny_checkpoint  # noqa: E402
from parity_tests.tiny_corpus import make_tiny_corpus  # noqa: E402

DOCUMENTS, QUESTIONS = 500, 480
NAMES = ("--text-column", "content", "--title-column", "law")


class Desk:
    """Two artifacts of one model, one of another, and a corpus with right answers."""

    def __init__(self, folder: Path) -> None:
        first = read_checkpoint(make_tiny_checkpoint(folder / "m"), prompts=LAWVAULT_PROMPTS)
        other = read_checkpoint(
            make_tiny_checkpoint(folder / "other", seed=1), prompts=LAWVAULT_PROMPTS
        )
        self.fp32, self.fp16, self.other = folder / "fp32", folder / "fp16", folder / "o"
        export_onnx(first, self.fp32)
        export_onnx(first, self.fp16, scheme="fp16")
        export_onnx(other, self.other)
        self.corpus = make_tiny_corpus(folder / "corpus", documents=DOCUMENTS, questions=QUESTIONS)
        lines = (self.corpus / "corpus.jsonl").read_text("utf-8").splitlines()
        self.rows = [json.loads(line) for line in lines]
        self.cache = folder / "vectors"

    def embed(self, artifact: Path, rows: list[dict[str, str]]) -> Any:
        encoder = OnnxEncoder(artifact, threads=1)
        return encoder.encode(
            [LAWVAULT_PROMPTS.render_document(r["text"], title=r["title"]) for r in rows]
        )

    def table(self, folder: Path, artifact: Path, *, more: str = "x") -> Path:
        """Write a table as an application would, with a column of its own."""
        vectors = self.embed(artifact, self.rows)
        made = pa.table(
            {
                "chunk_id": [row["_id"] for row in self.rows],
                "page": list(range(len(self.rows))),
                "vector": pa.FixedSizeListArray.from_arrays(
                    pa.array(vectors.ravel()), vectors.shape[1]
                ),
                "law": [row["title"] for row in self.rows],
                "content": [row["text"] for row in self.rows],
                "note": [more] * len(self.rows),
            }
        )
        lancedb.connect(folder).create_table("laws_vectors", made)
        return folder

    def replace(self, artifact: Path, database: Path, *more: object) -> list[str]:
        named = ["--output", database, "--replace", "--cache", self.cache, "--quiet", *more]
        return ["index", str(artifact), *map(str, named)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def opened(database: Path) -> Any:
    return lancedb.connect(database).open_table("laws_vectors")


def content(database: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = opened(database).to_arrow().to_pydict()
    return found


def test_vectors_are_replaced_and_all_else_stays(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = desk.table(tmp_path / "db", desk.fp32)
    before = content(database)
    asked = ["--corpus", desk.corpus, "--old", desk.fp32, *NAMES]
    assert run(desk.replace(desk.fp16, database, *asked)) == 0
    said = capsys.readouterr().out
    assert said.startswith("pass: MRR@10 ")
    assert "480 questions, judged by right answers" in said
    assert "version 2 has 500 rows of 64 components by onnx-fp16; version 1 is the one" in said
    after = content(database)
    np.testing.assert_array_equal(after.pop("vector"), desk.embed(desk.fp16, desk.rows))
    old = before.pop("vector")
    assert after == before
    assert list(after) == ["chunk_id", "page", "law", "content", "note"]
    origin = origin_in(database, "laws_vectors")
    assert origin is not None
    assert (origin.space.artifact, origin.replaced) == ("onnx-fp16", 1)
    assert origin.space.probes is not None
    # It says what made it now: no --old, no columns; and plain questions suffice.
    questions = tmp_path / "q.txt"
    questions.write_text("\n".join(row["text"][:12] for row in desk.rows[:480]), "utf-8")
    assert run(desk.replace(desk.fp32, database, "--queries", questions)) == 0
    assert "judged by the old vectors' first document" in capsys.readouterr().out
    assert run(["index", "--rollback", "--output", str(database)]) == 0
    assert "version 4 is version 2 again, 500 rows" in capsys.readouterr().out
    again = origin_in(database, "laws_vectors")
    assert again is not None
    assert again.space.artifact == "onnx-fp16"
    assert run(["index", "--rollback", "--output", str(database), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "table": "laws_vectors",
        "restored": 1,
        "version": 5,
        "rows": 500,
    }
    assert content(database) == before | {"vector": old}


def test_worse_vectors_are_not_made_current_without_a_reason(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = desk.table(tmp_path / "db", desk.fp32)
    questions = tmp_path / "q.txt"
    questions.write_text("押金\n工资\n", "utf-8")
    asked = desk.replace(desk.fp16, database, "--queries", questions, "--old", desk.fp32, *NAMES)
    assert run(asked) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("undecided: ")
    assert "questions like these would decide" in captured.out
    assert captured.err.endswith("table laws_vectors: left as it is\n")
    assert (opened(database).version, origin_in(database, "laws_vectors")) == (1, None)
    assert run([*asked, "--override-verdict", "for a demonstration", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["version"], done["override_reason"]) == (2, "for a demonstration")


def test_another_model_is_judged_by_right_answers_alone(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = desk.table(tmp_path / "db", desk.fp32)
    questions = tmp_path / "q.txt"
    questions.write_text("押金", "utf-8")

    def refusal(*more: object) -> str:
        assert run(desk.replace(desk.other, database, *more)) == 2
        return capsys.readouterr().err

    assert "does not say what made it; pass the artifact" in refusal(
        "--corpus", desk.corpus, *NAMES
    )
    told = refusal("--queries", questions, "--old", desk.fp32, *NAMES)
    assert "which no other model finds; pass --corpus with qrels" in told
    assert "no text column is known" in refusal("--corpus", desk.corpus, "--old", desk.fp32)
    assert run(
        desk.replace(desk.other, database, "--corpus", desk.corpus, "--old", desk.fp32, *NAMES)
    ) in (0, 1)
    assert "judged by right answers" in capsys.readouterr().out


def test_what_an_application_writes_meanwhile_is_caught_up(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = desk.table(tmp_path / "db", desk.fp32)
    measure: Callable[..., Any] = replacing.measure_replacement

    def meanwhile(*given: Any, **named: Any) -> Any:
        found = measure(*given, **named)
        table = opened(database)
        new = {"page": 900, "law": "新", "note": "new", "vector": [0.0] * 63 + [1.0]}
        table.add([{**new, "chunk_id": "new'1", "content": "第一条 新写的条文。"}])
        table.update(where="chunk_id = 'd003'", values={"content": "改过的条文。"})
        table.delete("chunk_id = 'd005'")
        return found

    monkeypatch.setattr(replacing, "measure_replacement", meanwhile)
    asked = ["--corpus", desk.corpus, "--old", desk.fp32, *NAMES, "--json"]
    assert run(desk.replace(desk.fp16, database, *asked)) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["caught_up"], done["rows"], done["replaced"]) == (3, 500, 4)
    found = content(database)
    place = {name: i for i, name in enumerate(found["chunk_id"])}
    assert "d005" not in place
    assert (found["page"][place["new'1"]], found["note"][place["new'1"]]) == (900, "new")
    rows = [{"title": found["law"][i], "text": found["content"][i]} for i in range(len(place))]
    assert rows[place["d003"]]["text"] == "改过的条文。"
    np.testing.assert_allclose(found["vector"], desk.embed(desk.fp16, rows), atol=1e-6)
    # Back to the last version of the old vectors, these documents included.
    monkeypatch.undo()
    assert run(["index", "--rollback", "--output", str(database)]) == 0
    assert "new'1" in content(database)["chunk_id"]


def test_documents_that_came_after_a_replacement_are_not_given_up_unasked(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = desk.table(tmp_path / "db", desk.fp32)
    asked = ["--corpus", desk.corpus, "--old", desk.fp32, *NAMES]
    assert run(["index", "--rollback", "--output", str(database)]) == 2
    assert "says of no vectors that were replaced" in capsys.readouterr().err
    assert run(desk.replace(desk.fp16, database, *asked)) == 0
    opened(database).delete("chunk_id = 'd007'")
    back = ["index", "--rollback", "--output", str(database)]
    assert run(back) == 2
    said = capsys.readouterr().err
    assert "0 documents were added or changed and 1 removed since version 1, first 'd007'" in said
    assert run([*back, "--force"]) == 0
    assert "d007" in content(database)["chunk_id"]
    assert run(desk.replace(desk.fp16, database, *asked)) == 0
    from datetime import timedelta

    opened(database).optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
    assert run(back) == 2
    assert "which held the vectors of before, was cleaned up" in capsys.readouterr().err


def test_a_stopped_replacement_leaves_the_table_and_resumes(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = desk.table(tmp_path / "db", desk.fp32)
    asked = desk.replace(desk.fp16, database, "--corpus", desk.corpus, "--old", desk.fp32, *NAMES)
    asked[asked.index("--cache") + 1] = str(tmp_path / "vectors")
    with monkeypatch.context() as patch:
        patch.setattr(replacing, "overwrite_vectors", stopped)
        assert run(asked) == 130
    assert opened(database).version == 1
    assert opened(database).count_rows() == DOCUMENTS
    encoded: list[int] = []
    encode = OnnxEncoder.encode

    def counted(self: OnnxEncoder, texts: Any, **named: Any) -> Any:
        encoded.append(len(texts))
        return encode(self, texts, **named)

    monkeypatch.setattr(OnnxEncoder, "encode", counted)
    assert run(asked) == 0
    assert sum(encoded) < 150  # the probes of its space, and no document
    capsys.readouterr()


def stopped(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_an_approximate_index_is_built_again(desk: Desk, tmp_path: Path) -> None:
    folder = ["--corpus", str(desk.corpus), "--output", str(tmp_path / "db"), "--ivf-pq", "--quiet"]
    assert run(["index", str(desk.fp32), *folder]) == 0
    assert run(desk.replace(desk.fp16, tmp_path / "db", "--corpus", desk.corpus)) == 0
    table = open_table(tmp_path / "db", table="laws_vectors", columns=Columns())
    (index,) = table.vector_indexes()
    assert (index.kind, index.unindexed_rows) == ("IVF_PQ", 0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--replace"], "--replace needs ARTIFACT"),
        (["--rollback", "--replace"], "--rollback takes neither ARTIFACT nor --replace"),
        (["--queries", "q.txt"], "--queries goes with --replace"),
        ([], "a new table needs ARTIFACT and --corpus FOLDER"),
    ],
)
def test_options_that_do_not_go_together_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert run(["index", "--output", str(tmp_path / "db"), *more]) == 2
    assert said in capsys.readouterr().err


def test_tables_that_cannot_be_replaced_are_refused(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = desk.table(tmp_path / "db", desk.fp32)
    asked = ["--old", desk.fp32, *NAMES]

    def refusal(*more: object) -> str:
        assert run(desk.replace(desk.fp16, database, *more)) == 2
        return capsys.readouterr().err

    assert "pass --corpus FOLDER with right answers, or --queries FILE" in refusal(*asked)
    both = ["--corpus", desk.corpus, "--queries", "q"]
    assert "pass --corpus FOLDER with right answers, or --queries FILE" in refusal(*asked, *both)
    assert "--replace takes no --dim" in refusal(*asked, "--corpus", desk.corpus, "--dim", 32)
    other = make_tiny_corpus(tmp_path / "elsewhere", documents=20, questions=5)
    for path in (other / "corpus.jsonl", other / "qrels" / "test.tsv"):
        path.write_text(path.read_text("utf-8").replace("d0", "e0"), "utf-8")
    assert "no answer of elsewhere is the id of a document" in refusal(*asked, "--corpus", other)
    opened(database).add(opened(database).head(1))
    assert "stand in several rows" in refusal(*asked, "--corpus", desk.corpus)
