"""`lawvault compare`: one question, what the original and artifacts find."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for module in ("sentence_transformers", "onnx", "onnxruntime"):
    pytest.importorskip(module)

from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.cli.main import main  # noqa: E402
from exporter.corpus.beir import read_corpus  # noqa: E402
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.formats.onnx.runtime import OnnxEncoder  # noqa: E402
from exporter.parity.one_question import AnswerList, FoundArticle  # noqa: E402
from exporter.report.one_question import moved, summary  # noqa: E402
from exporter.runtimes.original import reference_source  # noqa: E402
from parity_tests.conftest import LAWVAULT_PROMPTS  # noqa: E402
from parity_tests.tiny_checkpoint import make_tiny_checkpoint  # noqa: E402
from parity_tests.tiny_corpus import make_tiny_corpus  # noqa: E402

QUESTION = "押金<b>什么时候退"


class Desk:
    def __init__(self, folder: Path) -> None:
        self.path = make_tiny_checkpoint(folder / "tiny")
        self.checkpoint = read_checkpoint(self.path, prompts=LAWVAULT_PROMPTS)
        self.corpus = make_tiny_corpus(folder / "corpus")
        self.cache = folder / "vectors"
        self.exact, self.coarse = folder / "onnx-fp32", folder / "onnx-q4"
        export_onnx(self.checkpoint, self.exact)
        export_onnx(self.checkpoint, self.coarse, scheme="q4")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def compare(desk: Desk, question: str, *more: object) -> int:
    named = ["--checkpoint", desk.path, "--corpus", desk.corpus, "--cache", desk.cache, "--quiet"]
    arguments = ["compare", question, desk.exact, *named, *more]
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def best(desk: Desk, asked: Any, documents: Any) -> list[str]:
    corpus = read_corpus(desk.corpus)
    texts = [
        LAWVAULT_PROMPTS.render_document(x, title=t)
        for t, x in zip(corpus.titles, corpus.texts, strict=True)
    ]
    scores = documents.encode(texts).astype("f8") @ asked.encode([QUESTION])[0].astype("f8")
    order = np.lexsort((np.arange(len(scores)), -np.round(scores, 9)))
    return [corpus.doc_ids[i] for i in order[:10]]


@pytest.mark.parametrize("index", ["own", "original"])
def test_each_list_is_that_of_an_exact_search(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], index: str
) -> None:
    page = tmp_path / "c.html"
    assert compare(desk, QUESTION, desk.coarse, "--on", index, "--output", page, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    with closing(reference_source(desk.checkpoint, "bfloat16").open()) as original:
        coarse = OnnxEncoder(desk.coarse, threads=1)
        wanted = [
            best(desk, original, original),
            best(desk, coarse, coarse if index == "own" else original),
        ]
    found = [[article["id"] for article in answers["found"]] for answers in shown["answers"]]
    assert [found[0], found[2]] == wanted
    assert shown["answers"][2]["in_common"] == len(set(wanted[0]) & set(wanted[1]))
    assert set(shown["articles"]) == {key for ids in found for key in ids}
    html = page.read_text("utf-8")
    assert "押金&lt;b&gt;什么时候退" in html
    assert "<b>什么" not in html
    assert all(shown["articles"][key]["text"][:10] in html for key in found[0])


def test_the_terminal_shows_lists_side_by_side_in_eighty_columns(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert compare(desk, QUESTION, "--top", "3", "--output", tmp_path / "c.html") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == QUESTION
    assert "original (torch bf16)" in lines[2]
    assert "onnx-fp32" in lines[2]
    assert lines[3].startswith(" 1 ")
    assert "of 3 articles in common" in lines[6] or "in the same order" in lines[6]


@pytest.mark.parametrize(
    ("question", "more", "said"),
    [
        ("  ", [], "the question is empty"),
        ("q", ["--dim", "999"], "has only 64 dimensions"),
        ("q", ["--corpus", "/nowhere"], "no such corpus folder"),
        ("q", ["/nowhere"], "no such artifact folder"),
        ("q", ["--output", "/"], "is a folder"),
    ],
)
def test_wrong_usage_is_one_line(
    desk: Desk, capsys: pytest.CaptureFixture[str], question: str, more: list[str], said: str
) -> None:
    assert compare(desk, question, *more) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_an_existing_page_is_not_replaced_unasked(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "c.html"
    page.write_text("mine", "utf-8")
    assert compare(desk, QUESTION, "--output", page) == 2
    assert page.read_text("utf-8") == "mine"
    assert "--force" in capsys.readouterr().err
    assert compare(desk, QUESTION, "--output", page, "--force") == 0


def test_moves_are_told_in_words_and_signs() -> None:
    def found(*articles: tuple[str, int | None]) -> AnswerList:
        made = [
            FoundArticle(id=key, rank=i + 1, score=0.5, was=was)
            for i, (key, was) in enumerate(articles)
        ]
        known = sum(was is not None for _, was in articles)
        return AnswerList(name="x", size_bytes=1, found=tuple(made), in_common=known)

    original = found(("a", 1), ("b", 2), ("c", 3))
    other = found(("b", 2), ("d", None), ("a", 1))
    assert [moved(article) for article in other.found] == ["↑1", "new", "↓2"]
    assert summary(other, original) == "x: another first article, 2 of 3 articles in common"
    assert summary(original, original) == "x: the same 3 articles in the same order"
