"""`lawvault index-size`: every way of a small index, through LanceDB itself."""

import json
from pathlib import Path
from typing import Any

import pytest

for module in ("onnx", "onnxruntime", "lancedb"):
    pytest.importorskip(module)
import lancedb  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.cli.main import main  # noqa: E402
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.tables.codecs import nearest, signs, unit  # noqa: E402
from exporter.tables.index_size import (  # noqa: E402
    APPROXIMATE,
    SCANNED,
    IndexSizeReport,
    IndexSizeRun,
    Way,
    ways_of,
)
from exporter.tables.index_size_run import reciprocal  # noqa: E402
from exporter.tables.index_size_store import SizedStore  # noqa: E402
from exporter.vectors.codes import coded  # noqa: E402
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE, write_corpus  # noqa: E402
from parity_tests.tiny_corpus import make_tiny_corpus  # noqa: E402


def code_of(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


class Shelf:
    """The miniature in float32, a corpus, and a table of its documents."""

    def __init__(self, folder: Path) -> None:
        self.artifact, self.corpus = folder / "onnx-fp32", folder / "corpus"
        export_onnx(read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS), self.artifact)
        make_tiny_corpus(self.corpus, documents=300)
        self.cache, self.tables = folder / "vectors", folder / "tables"
        self.questions = folder / "questions.txt"
        asked = (self.corpus / "queries.jsonl").read_text("utf-8").splitlines()
        self.questions.write_text("\n".join(json.loads(line)["text"] for line in asked), "utf-8")
        named = ["--corpus", self.corpus, "--output", self.tables, "--cache", self.cache, "--quiet"]
        assert code_of("index", self.artifact, *named) == 0

    def run(self, output: Path, *more: object) -> int:
        named = ["--output", output, "--cache", self.cache, "--quiet", *more]
        return code_of("index-size", self.artifact, *named)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def judged(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("judged") / "sizes"
    assert shelf.run(output, "--corpus", shelf.corpus, "--dims", "256,64") in (0, 1)
    return output


def read(folder: Path) -> IndexSizeReport:
    return IndexSizeReport.model_validate_json((folder / "index-size.json").read_bytes())


def test_every_way_is_measured_and_said(judged: Path) -> None:
    report = read(judged)
    assert report.judged
    assert [s.way for s in report.searches] == ways_of((256, 64), full=256)
    assert {s.way.codec for s in report.searches} == {*SCANNED, *APPROXIMATE}
    by_way = {s.way: s for s in report.searches}
    exact = by_way[Way(dim=256, codec="float32")]
    assert exact.overlap_at_10.mean == 1
    assert exact.difference.mean == 0
    assert exact.mrr_at_10 == report.mrr_at_10 > 0
    text = (judged / "index-size.md").read_text("utf-8")
    assert text.count("\n| 256 | ") + text.count("\n| 64 | ") == len(report.searches)
    plot = (judged / "index-size.svg").read_text("utf-8")
    assert plot.count("<circle") == len(report.searches) + 3  # and the legend
    run = IndexSizeRun.model_validate_json((judged / "index-size.run.json").read_bytes())
    assert [time.way for time in run.times] == [s.way for s in report.searches]
    assert all(time.query_ms > 0 for time in run.times)


def test_bytes_are_those_of_the_codec(judged: Path) -> None:
    by_way = {s.way: s for s in read(judged).searches}

    def bytes_of(dim: int, codec: str, copy_of: Any = "none") -> tuple[float, float]:
        found = by_way[Way(dim=dim, codec=codec, copy_of=copy_of)]
        return found.scanned, found.stored

    assert bytes_of(256, "float32") == (1024, 1024)
    assert bytes_of(64, "float16") == (128, 128)
    assert bytes_of(64, "float16", "float32") == (128, 128 + 1024)
    assert bytes_of(64, "binary", "int8") == (8, 8 + 260)
    scanned, stored = bytes_of(256, "int8", "float32")
    assert 256 < scanned < 300  # codes, row ids and a few bounds
    assert stored == pytest.approx(scanned + 1024, abs=0.2)  # the column is the copy
    scanned, stored = bytes_of(64, "int8", "int8")
    assert stored == pytest.approx(scanned + 4 * 64 + 260, abs=0.2)


def test_lancedb_finds_what_the_codec_finds_in_numpy(judged: Path) -> None:
    found = {s.way: s.numpy_overlap_at_10 for s in read(judged).searches}
    for dim in (256, 64):
        assert found[Way(dim=dim, codec="float32")] == 1
        assert (found[Way(dim=dim, codec="float16")] or 0) > 0.98
        assert (found[Way(dim=dim, codec="int8")] or 0) > 0.9
        assert found[Way(dim=dim, codec="HNSW-SQ")] is None


def test_rescoring_brings_back_what_few_bits_lose(judged: Path) -> None:
    overlap = {s.way: s.overlap_at_10.mean for s in read(judged).searches}
    for codec in ("binary", "int8", "IVF-PQ/16"):
        bare = overlap[Way(dim=64, codec=codec)]
        assert overlap[Way(dim=64, codec=codec, copy_of="int8")] > bare + 0.05
        assert overlap[Way(dim=64, codec=codec, copy_of="float32")] > bare + 0.05
    assert overlap[Way(dim=64, codec="binary")] < overlap[Way(dim=64, codec="float32")]


def test_a_table_that_exists_is_asked_without_judgements(shelf: Shelf, tmp_path: Path) -> None:
    output = tmp_path / "sizes"
    given = ("--index", shelf.tables, "--queries", shelf.questions, "--dims", 64)
    assert shelf.run(output, *given) in (0, 1)
    report = read(output)
    assert not report.judged
    assert report.mrr_at_10 == 1, "float32's first answer is the right one"
    assert report.rows == 300
    assert "whose first answer is taken for the right one" in (output / "index-size.md").read_text(
        "utf-8"
    )
    assert not list(tmp_path.glob(".index-size.*")), "the table that was tried is gone"


def test_the_margin_decides(shelf: Shelf, judged: Path, tmp_path: Path) -> None:
    """A recipe that allows nothing lets nothing pass; one that allows all lets all pass."""
    recipe = tmp_path / "strict.toml"
    for margin, code in ((0.000001, 1), (1.0, 0)):
        recipe.write_text(
            f'schema_version = 1\nextends = "default"\n[limits.8bit]\ncosine_p1_min = 0.9\n'
            f"overlap_at_10_min = 0.5\nmrr_at_10_margin = {margin}\n"
            + ('reason = "a test"\n' if margin == 1.0 else ""),
            encoding="utf-8",
        )
        output = tmp_path / str(margin)
        given = ("--corpus", shelf.corpus, "--dims", "64", "--recipe", recipe)
        assert shelf.run(output, *given) == code
        verdicts = {s.verdict for s in read(output).searches}
        assert (verdicts == {"pass"}) is (code == 0)
        assert (read(output).smallest is None) is (code == 1)


def test_few_rows_train_no_index(shelf: Shelf, tmp_path: Path) -> None:
    folder = make_tiny_corpus(tmp_path / "few", documents=60)
    assert shelf.run(tmp_path / "out", "--corpus", folder, "--dims", 64) in (0, 1)
    report = read(tmp_path / "out")
    assert {s.way.codec for s in report.searches} == set(SCANNED)
    assert "60 rows cannot train them, 256 are needed" in report.left_out[0]


def test_codecs_in_numpy_lose_as_much_as_their_bits() -> None:
    rng = np.random.default_rng(0)
    documents = unit(rng.standard_normal((500, 64)).astype(np.float32), 64)
    questions = unit(documents[:50] + 0.05 * rng.standard_normal((50, 64)).astype(np.float32), 64)
    exact = nearest("float32", documents, questions)
    assert (exact[:, 0] == np.arange(50)).all()
    same = {
        codec: float((nearest(codec, documents, questions)[:, :, None] == exact[:, None]).sum())
        / 500
        for codec in SCANNED
    }
    assert same["float32"] == 1
    assert same["float16"] > same["int8"] - 0.01 > 0.9
    assert 0.2 < same["binary"] < 0.7
    scale, codes = coded(documents, bits=8)
    assert np.abs(codes * scale[:, None] - documents).max() <= scale.max() / 2 * 1.001
    assert signs(np.array([[1, -1, 1, 1, -1, -1, -1, 1, 1]], np.float32)).tolist() == [[177, 128]]


def test_the_first_right_answer_counts() -> None:
    found = np.array([[5, 6, 7], [5, 6, 7], [5, -1, -1]])
    assert reciprocal(found, [{7, 6}, {1}, {5}]).tolist() == [0.5, 0, 1]


def test_lancedb_holds_the_bytes_that_are_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((4000, 128)).astype(np.float32), 128)
    store = SizedStore(tmp_path / "db", vectors, (128, 32))
    data = tmp_path / "db" / "vectors.lance" / "data"
    held = sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) / 4000
    columns = 8 + 4 * 128 + 128 + 4 + (2 * 128 + 16) + (4 * 32 + 2 * 32 + 4)
    assert held == pytest.approx(columns, rel=0.1)
    scanned, _, _ = store.prepare(Way(dim=128, codec="int8"))
    assert 128 <= scanned < 140


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "pass --corpus FOLDER, or --index PATH"),
        (("--corpus", "c", "--index", "i"), "pass --corpus FOLDER, or --index PATH"),
        (("--index", "i"), "--index and --queries go together"),
        (("--corpus", "CORPUS", "--dims", "100"), "--dims 100 is none that"),
        (("--corpus", "CORPUS", "--dims", "all"), "'all' is no list of numbers"),
        (("--corpus", "CORPUS", "--recipe", "none.toml"), "none.toml"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    more: tuple[str, ...], said: str, shelf: Shelf, tmp_path: Path, capsys: Any
) -> None:
    named = [str(shelf.corpus) if word == "CORPUS" else word for word in more]
    assert shelf.run(tmp_path / "out", *named) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_whose_float_vectors_are_gone_is_refused(
    shelf: Shelf, tmp_path: Path, capsys: Any
) -> None:
    codes = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(40 * 32, np.uint8)), 32)
    rows = pa.table({"chunk_id": [str(i) for i in range(40)], "vector": codes})
    lancedb.connect(tmp_path / "db").create_table("laws_vectors", rows)
    given = ("--index", tmp_path / "db", "--queries", shelf.questions)
    assert shelf.run(tmp_path / "out", *given) == 2
    said = capsys.readouterr().err
    assert "holds codes of 8 bits" in said
    assert "made again" in said


def test_too_few_documents_are_refused(shelf: Shelf, tmp_path: Path, capsys: Any) -> None:
    folder = write_corpus(
        tmp_path / "small",
        documents=[(f"d{i}", "", f"第{i}条") for i in range(5)],
        queries=[("q", "第1条")],
        qrels=[("q", "d1", "1")],
    )
    assert shelf.run(tmp_path / "out", "--corpus", folder) == 2
    assert "5 documents" in capsys.readouterr().err
