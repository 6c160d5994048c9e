"""Files of questions: what is read, and what is refused by name."""

import json
from pathlib import Path

import pytest

from exporter.corpus.questions import read_questions
from exporter.errors import BadInput

ASKED = ("房东不退押金怎么办？", "老板拖欠工资三个月")


def test_one_question_a_line_is_known_by_its_line_and_blank_lines_are_skipped(
    tmp_path: Path,
) -> None:
    path = tmp_path / "q.txt"
    path.write_text(f"\ufeff{ASKED[0]}\r\n\n  {ASKED[1]}\n", "utf-8")
    read = read_questions(path)
    assert read.texts == ASKED
    assert read.ids == ("1", "3")


def test_json_lines_keep_their_order_and_ids(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    rows = [{"_id": f"q{9 - i}", "text": text} for i, text in enumerate(ASKED)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    read = read_questions(path)
    assert (read.ids, read.texts) == (("q9", "q8"), ASKED)
    assert read.sha256 != read_questions_of(tmp_path, "\n".join(ASKED)).sha256


def read_questions_of(folder: Path, text: str):  # type: ignore[no-untyped-def]
    path = folder / "other.txt"
    path.write_text(text, "utf-8")
    return read_questions(path)


def test_a_file_in_gbk_is_refused_by_line_and_byte_with_the_command_that_converts_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "q.txt"
    path.write_bytes(b"plain\nabc" + ASKED[0].encode("gbk") + b"\n")
    with pytest.raises(BadInput) as caught:
        read_questions(path)
    said = str(caught.value)
    assert "line 2: not valid UTF-8 (byte 3 of the line)" in said
    assert "reads as GBK: iconv -f GB18030 -t UTF-8 'q.txt' > utf8.txt" in said


def test_a_file_in_utf_16_is_refused_as_such(tmp_path: Path) -> None:
    path = tmp_path / "q.txt"
    path.write_bytes("\n".join(ASKED).encode("utf-16"))
    with pytest.raises(BadInput, match=r"line 1: not valid UTF-8.*iconv -f UTF-16"):
        read_questions(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q.txt", "\n \n", "holds no questions"),
        ("q.jsonl", "", "holds no lines"),
        ("q.jsonl", "房东", "line 1: not valid JSON"),
        ("q.jsonl", '{"_id": "a", "text": " "}', "line 1: empty text"),
        ("q.jsonl", '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}', "line 2: duplicate id"),
        ("q.csv", "a,b", "ends in '.csv'; pass questions as .txt"),
    ],
)
def test_what_is_no_list_of_questions_is_refused(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(content, "utf-8")
    with pytest.raises(BadInput, match=said):
        read_questions(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file of questions"):
        read_questions(tmp_path / "none.txt")
