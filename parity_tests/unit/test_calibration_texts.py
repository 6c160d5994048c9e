import json
import shutil
from pathlib import Path

import pytest

from exporter import bundled
from exporter.checkpoint.contents import Prompts
from exporter.corpus import calibration
from exporter.corpus.beir import read_corpus
from exporter.corpus.calibration import (
    ROLES,
    CalibrationText,
    calibration_inputs,
    calibration_sha256,
    corpus_calibration,
    read_calibration,
    write_calibration,
)
from exporter.errors import BadInput
from parity_tests.conftest import BUNDLED_CORPUS, write_corpus

BUNDLED = calibration.bundled  # before tests are made to calibrate on few


@pytest.fixture(autouse=True)
def all_bundled_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "bundled", BUNDLED)


def test_the_bundled_texts_are_many_different_and_of_spread_lengths() -> None:
    texts = read_calibration(None)
    assert len(texts) == len({text.text for text in texts}) >= 512
    for role in ROLES:
        assert sum(text.role == role for text in texts) >= 240, role
    lengths = sorted(len(text.text) for text in texts)
    assert lengths[len(lengths) // 20] < 12
    assert 60 < lengths[len(lengths) // 2] < 160
    assert lengths[-1] >= 2200
    titled = [text for text in texts if text.title]
    assert len(titled) > 250
    assert all(text.role == "document" for text in titled)


def test_the_bundled_texts_share_no_sentence_with_the_bundled_corpus() -> None:
    files = [BUNDLED_CORPUS / name for name in ("corpus.jsonl", "queries.jsonl")]
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    found = [json.loads(line)["text"] for line in lines]
    grams = {text[i : i + 10] for text in found for i in range(len(text) - 9)}
    for text in read_calibration(None):
        assert not {text.text[i : i + 10] for i in range(len(text.text) - 9)} & grams, text


def test_each_text_gets_the_prompt_of_its_role_and_its_title() -> None:
    prompts = Prompts(query="q: {text}", document="title: {title} | text: {text}")
    texts = [
        CalibrationText("第一条", "document", "桥梁条例"),
        CalibrationText("第二条", "document"),
        CalibrationText("漏水", "query"),
    ]
    assert calibration_inputs(texts, prompts) == [
        "title: 桥梁条例 | text: 第一条",
        "title: none | text: 第二条",
        "q: 漏水",
        "q: 第",
    ]


def test_a_plain_file_is_read_line_by_line_in_both_roles(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    lines = [f"第{n}条\u2028 条文" for n in range(20)]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n\n".join(lines).encode())
    texts = read_calibration(file)
    for role in ROLES:
        assert [text.text for text in texts if text.role == role] == lines
    assert calibration_sha256(texts) != calibration_sha256(texts[::-1])


def test_roles_and_titles_come_from_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    records = [{"text": f"押金{n}", "role": "query"} for n in range(10)]
    records += [{"text": f"第{n}条", "title": "法", "role": "document"} for n in range(10)]
    records.append({"text": "两可"})
    file.write_text("\n".join(map(json.dumps, records)), "utf-8")
    texts = read_calibration(file)
    assert texts[0] == CalibrationText("押金0", "query")
    assert texts[10] == CalibrationText("第0条", "document", "法")
    assert {text.role for text in texts if text.text == "两可"} == {"document", "query"}


def test_a_folder_in_beirs_layout_gives_documents_and_questions() -> None:
    texts = read_calibration(BUNDLED_CORPUS)
    roles = [text.role for text in texts]
    assert roles.count("document") == 256
    assert roles.count("query") == 256
    assert all(text.title for text in texts if text.role == "document")
    assert texts == read_calibration(BUNDLED_CORPUS)


def test_no_judged_question_is_fitted_on(tmp_path: Path) -> None:
    documents = [(f"d{n}", f"条例 第{n}条", f"第{n}条 押金") for n in range(30)]
    asked = [(f"q{n}", f"押金第{n}问") for n in range(40)]
    folder = write_corpus(
        tmp_path / "corpus",
        documents=documents,
        queries=asked[:20],
        qrels=[(f"q{n}", f"d{n}", "1") for n in range(20)],
    )
    (folder / "queries.train.jsonl").write_text(
        "".join(json.dumps({"_id": i, "text": text}) + "\n" for i, text in asked), "utf-8"
    )
    judged = read_corpus(folder)
    assert len(judged.queries) == 20
    texts = corpus_calibration(folder, judged)
    questions = {text.text for text in texts if text.role == "query"}
    assert questions == {text for _, text in asked[20:]}
    assert sum(text.role == "document" for text in texts) == 30
    write_calibration(tmp_path / "fitted.jsonl", texts)
    assert read_calibration(tmp_path / "fitted.jsonl") == texts


def test_where_every_question_is_judged_bundled_ones_are_fitted_on() -> None:
    judged = read_corpus(BUNDLED_CORPUS)
    texts = corpus_calibration(BUNDLED_CORPUS, judged)
    questions = {text.text for text in texts if text.role == "query"}
    assert not questions & set(judged.queries)
    assert len(questions) >= 240
    assert sum(text.role == "document" for text in texts) == 256


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"text": "a", "role": "title"}, "line 17: role 'title' is neither document nor query"),
        ({"text": "a", "title": "b", "role": "query"}, "line 17: a query has no title"),
        ({"text": " ", "role": "query"}, "line 17: empty text"),
        ({"role": "query"}, "line 17: text is missing"),
        ({"text": "a", "role": 1}, "line 17: role is 1, not a string"),
        (["a"], "line 17: a JSON list, not an object"),
    ],
)
def test_a_record_that_is_none_is_named_by_its_line(
    tmp_path: Path, record: object, expected: str
) -> None:
    file = tmp_path / "mine.jsonl"
    good = [{"text": f"押金{n}", "role": "query"} for n in range(16)]
    file.write_text("\n".join(map(json.dumps, [*good, record])), "utf-8")
    with pytest.raises(BadInput, match=expected):
        read_calibration(file)


def test_a_folder_without_documents_or_questions_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"corpus\.jsonl' is missing"):
        read_calibration(tmp_path)
    shutil.copyfile(BUNDLED_CORPUS / "corpus.jsonl", tmp_path / "corpus.jsonl")
    with pytest.raises(BadInput, match=r"has no queries\.jsonl"):
        read_calibration(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty; write at least 16 texts"),
        (b" \n\n\t\n", "is empty"),
        ("第一条\n".encode() + "第二条".encode("gb18030"), "line 2: not valid UTF-8"),
        ("押金\n".encode() * 40, "holds 1 different texts, too few"),
        (b"\n".join(b"%d" % n for n in range(15)), "holds 15 different texts, too few"),
    ],
)
def test_a_calibration_file_that_cannot_serve_is_one_line(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=expected) as raised:
        read_calibration(file)
    assert "\n" not in str(raised.value)
    assert str(file) in str(raised.value)


def test_a_missing_calibration_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no such calibration file: .*nowhere\.txt"):
        read_calibration(tmp_path / "nowhere.txt")


def test_without_the_bundled_file_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "files", lambda name: tmp_path / name)
    with pytest.raises(BadInput, match="was not installed with lawvault-exporter"):
        read_calibration(None)
