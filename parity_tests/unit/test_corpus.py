"""A corpus that would falsify a figure is refused, with file and line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from exporter.corpus.beir import read_corpus
from exporter.errors import BadInput

DOCUMENTS: list[Any] = [
    {"_id": "b", "title": "住房租赁条例 第三条", "text": "押金应当在七日内退还。"},
    {"_id": "a", "title": "", "text": "用人单位应当按月支付工资。"},
]
QUERIES: list[Any] = [{"_id": "q2", "text": "老板不发工资"}, {"_id": "q1", "text": "房东不退押金"}]
QRELS = [("q1", "b", "1"), ("q2", "a", "2")]
HEADER = "query-id\tcorpus-id\tscore\n"


def write(
    folder: Path,
    *,
    documents: Sequence[Any] = DOCUMENTS,
    queries: Sequence[Any] = QUERIES,
    qrels: Sequence[tuple[str, ...]] = QRELS,
    split: str = "test",
    header: str = HEADER,
) -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", documents), ("queries", queries)):
        lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    text = header + "".join("\t".join(row) + "\n" for row in qrels)
    (folder / "qrels" / f"{split}.tsv").write_text(text, "utf-8")
    return folder


def refusal(folder: Path, *, queries: Path | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        read_corpus(folder, queries=queries)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_corpus_is_read_in_order_of_its_ids(tmp_path: Path) -> None:
    corpus = read_corpus(write(tmp_path / "mini"))
    assert (corpus.name, corpus.split) == ("mini", "test")
    assert corpus.doc_ids == ("a", "b")
    assert corpus.titles == ("", "住房租赁条例 第三条")
    assert corpus.query_ids == ("q1", "q2")
    assert corpus.queries == ("房东不退押金", "老板不发工资")
    assert corpus.qrels == {"q1": {"b": 1}, "q2": {"a": 2}}


def test_the_hash_is_of_the_content_not_of_the_order_of_lines(tmp_path: Path) -> None:
    one = read_corpus(write(tmp_path / "one"))
    other = read_corpus(write(tmp_path / "other", documents=DOCUMENTS[::-1]))
    changed = read_corpus(
        write(tmp_path / "changed", documents=[DOCUMENTS[0], {**DOCUMENTS[1], "text": "另一条"}])
    )
    assert one.sha256 == other.sha256 != changed.sha256


def test_windows_line_ends_blank_lines_and_unicode_separators_are_read(tmp_path: Path) -> None:
    folder = write(tmp_path, documents=[*DOCUMENTS, {"_id": "c", "text": "一\u2028二\u0085三"}])
    for path in folder.rglob("*.*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    corpus = read_corpus(folder)
    assert corpus.texts[2] == "一\u2028二\u0085三"
    assert corpus.qrels["q2"] == {"a": 2}


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        ({"documents": [*DOCUMENTS, DOCUMENTS[0]]}, "corpus.jsonl' line 3", "duplicate id 'b'"),
        ({"queries": [*QUERIES, QUERIES[0]]}, "queries.jsonl' line 3", "duplicate id 'q2'"),
        ({"documents": [DOCUMENTS[0], {"_id": "a", "text": "　\n"}]}, "line 2", "empty text"),
        ({"queries": [QUERIES[0], {"_id": "q1", "text": ""}]}, "line 2", "empty text"),
        ({"documents": [*DOCUMENTS, {"_id": "c"}]}, "line 3", "text is missing"),
        ({"documents": [*DOCUMENTS, {"_id": 3, "text": "x"}]}, "line 3", "_id"),
        ({"documents": [*DOCUMENTS, {"_id": "c", "text": "x", "title": 1}]}, "line 3", "title"),
        ({"documents": [*DOCUMENTS, '{"_id": "c"']}, "line 3", "not valid JSON"),
        ({"documents": [*DOCUMENTS, '["c", "x"]']}, "line 3", "not an object"),
        ({"documents": [*DOCUMENTS, '{"_id": "c", "text": "\\ud800"}']}, "line 3", "surrogate"),
        ({"qrels": [*QRELS, ("q1", "z", "1")]}, "test.tsv' line 4", "names no document: 'z'"),
        ({"qrels": [*QRELS, ("q9", "a", "1")]}, "test.tsv' line 4", "names no question: 'q9'"),
        ({"qrels": [*QRELS, ("q1", "a", "0.5")]}, "test.tsv' line 4", "not a whole number"),
        ({"qrels": [*QRELS, ("q1", "a", "9" * 400)]}, "test.tsv' line 4", "not a whole number"),
        ({"documents": [*DOCUMENTS, '{"_id": %s}' % ("9" * 5_000)]}, "line 3", "not valid JSON"),
        ({"qrels": [*QRELS, ("q1", "a")]}, "test.tsv' line 4", "2 fields"),
        ({"qrels": [*QRELS, QRELS[0]]}, "test.tsv' line 4", "second time"),
        ({"header": ""}, "test.tsv' line 1", "header is missing"),
        ({"qrels": []}, "test.tsv", "holds no answers"),
        ({"qrels": QRELS[:1]}, "queries.jsonl", "question 'q2'"),
        ({"qrels": [QRELS[0], ("q2", "a", "0")]}, "qrels/test.tsv", "question 'q2'"),
        ({"documents": [], "qrels": []}, "corpus.jsonl", "holds no lines"),
    ],
)
def test_what_would_falsify_a_figure_is_refused(
    tmp_path: Path, change: dict[str, Any], where: str, what: str
) -> None:
    message = refusal(write(tmp_path, **change))
    assert where in message
    assert what in message


def test_invalid_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path) / "corpus.jsonl"
    path.write_bytes(path.read_bytes() + b'{"_id": "c", "text": "\xff\xfe"}\n')
    assert "corpus.jsonl' line 3: not valid UTF-8" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).unlink()
    assert name.split("/")[0].removesuffix(".jsonl") in refusal(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "no such corpus folder" in refusal(tmp_path / "none")


def test_the_only_split_is_taken_whatever_its_name(tmp_path: Path) -> None:
    assert read_corpus(write(tmp_path, split="lay")).split == "lay"


def test_of_train_and_dev_dev_is_taken_and_questions_of_train_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, qrels=QRELS[:1], split="train")
    corpus = read_corpus(write(tmp_path, qrels=QRELS[1:], split="dev"))
    assert corpus.split == "dev"
    assert corpus.query_ids == ("q2",)


def test_between_test_and_dev_the_file_of_questions_decides(tmp_path: Path) -> None:
    write(tmp_path, split="dev")
    write(tmp_path, split="test")
    assert "dev, test" in refusal(tmp_path)
    named = (tmp_path / "queries.jsonl").rename(tmp_path / "queries.dev.jsonl")
    assert read_corpus(tmp_path, queries=named).split == "dev"
    assert "no such file of questions" in refusal(tmp_path, queries=tmp_path / "queries.x.jsonl")
