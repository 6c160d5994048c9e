"""The texts that a model is run on to measure it: bundled, or a user's own, each in its role."""

import hashlib
import json
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exporter.bundled import bundled
from exporter.checkpoint.contents import Prompts
from exporter.corpus.beir import Corpus, read_documents, read_questions
from exporter.corpus.lines import read_lines, read_records, string_of, text_of
from exporter.errors import BadInput
from exporter.records import write_text

Role = Literal["document", "query"]
ROLES: tuple[Role, ...] = ("document", "query")

BUNDLED_NAME = "recipes/calibration/legal-zh.jsonl"
# A handful of texts never meets the tail of a range; users are better served by the bundled ones.
FEWEST = 16
# Of a folder in BEIR's layout: as many of each role as the bundled file holds, about.
SAMPLED = 256
SHORTEST = 4
FRAGMENT_EVERY = 16


@dataclass(frozen=True)
class CalibrationText:
    """A text and what it is to the model. A question has no title."""

    text: str
    role: Role
    title: str = ""

    def rendered(self, prompts: Prompts) -> str:
        """Return the text as the model gets it, the prompt of its role applied."""
        if self.role == "query":
            return prompts.render_query(self.text)
        return prompts.render_document(self.text, title=self.title)


def read_calibration(path: Path | None) -> list[CalibrationText]:
    """Return the calibration texts of `path`, or the bundled ones for None.

    `path` is a file in JSON lines (`{"text", "title", "role"}`, role `document` or `query`), a
    plain file of one text a line, or a folder in BEIR's layout, of whose documents and questions
    up to 256 each are taken, chosen by the hash of their text. A text without a role is read in
    both. Raises BadInput for a file that is missing, empty, not UTF-8, or holds fewer than 16
    different texts.
    """
    file = bundled(BUNDLED_NAME) if path is None else path
    if file.is_dir():
        return check_enough(_sampled(file), file)
    if not file.is_file():
        raise BadInput(
            f"no such calibration file: '{file}'; pass --calibration with a file of one text a "
            "line, JSON lines with text, title and role, or a folder in BEIR's layout"
        )
    return check_enough(read_texts(file), file)


def read_texts(file: Path) -> list[CalibrationText]:
    """Return the texts of a file, however few, as `read_calibration` reads them. Raises BadInput
    naming file and line."""
    return (_read_records if file.suffix == ".jsonl" else _read_plain)(file)


def check_enough(texts: list[CalibrationText], source: Path) -> list[CalibrationText]:
    """Return `texts`. Raises BadInput where `source` held too few of them."""
    if not texts:
        raise BadInput(
            f"calibration file '{source}' is empty; write at least {FEWEST} texts, one a line"
        )
    distinct = len({text.text for text in texts})
    if distinct < FEWEST:
        raise BadInput(
            f"calibration file '{source}' holds {distinct} different texts, too few to measure a "
            f"range; write at least {FEWEST}, one a line"
        )
    return texts


def calibration_inputs(texts: Sequence[CalibrationText], prompts: Prompts) -> list[str]:
    """Return what a model is measured on: the texts in their roles, and a few of their beginnings.

    One to four characters, as short questions go: attention over so little ranges farther.
    """
    fragments = [
        prompts.render_query(text.text[: 1 + i % SHORTEST])
        for i, text in enumerate(texts[::FRAGMENT_EVERY])
    ]
    return [text.rendered(prompts) for text in texts] + fragments


def calibration_sha256(texts: Sequence[CalibrationText]) -> str:
    """Return the hex SHA-256 of what was calibrated on, for the manifest."""
    content = [[text.role, text.title, text.text] for text in texts]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def sample(texts: Sequence[CalibrationText], count: int) -> list[CalibrationText]:
    """Return `count` of `texts`, or all, the same ones whatever their order: by hash."""

    def place(text: CalibrationText) -> bytes:
        return hashlib.sha256(f"{text.title}\n{text.text}".encode("utf-8", "replace")).digest()

    return sorted(texts, key=place)[:count]


def corpus_calibration(folder: Path, judged: Corpus) -> list[CalibrationText]:
    """Return calibration texts from the folder that `judged` was read from: documents, and
    questions whose text `judged` does not ask; where too few are left, bundled questions instead.

    So that nothing is fitted on a question that it is judged by. Raises BadInput as
    `read_calibration` does.
    """
    asked = {question.strip() for question in judged.queries}
    found = _sampled(folder, without=asked)
    if sum(text.role == "query" for text in found) < FEWEST:
        found = [text for text in found if text.role == "document"]
        found += [
            text
            for text in read_calibration(None)
            if text.role == "query" and text.text.strip() not in asked
        ]
    return check_enough(found, folder)


def write_calibration(path: Path, texts: Sequence[CalibrationText]) -> None:
    """Write texts as JSON lines that `read_calibration` reads."""
    lines = [
        json.dumps({"text": text.text, "title": text.title, "role": text.role}, ensure_ascii=False)
        for text in texts
    ]
    write_text(path, "".join(line + "\n" for line in lines))


def _sampled(folder: Path, *, without: Container[str] = ()) -> list[CalibrationText]:
    documents = [
        CalibrationText(text, "document", title) for title, text in read_documents(folder).values()
    ]
    questions = [
        CalibrationText(text, "query")
        for text in read_questions(folder).values()
        if text.strip() not in without
    ]
    return sample(documents, SAMPLED) + sample(questions, SAMPLED)


def _read_records(path: Path) -> list[CalibrationText]:
    found = []
    for line, record in read_records(path):
        text = text_of(record, path, line)
        title = string_of(record, "title", path, line) if "title" in record else ""
        if "role" not in record:
            found += _in_both(text, title)
            continue
        role = string_of(record, "role", path, line)
        if role not in ROLES:
            raise BadInput(f"'{path}' line {line}: role {role!r} is neither document nor query")
        if role == "query" and title:
            raise BadInput(f"'{path}' line {line}: a query has no title; leave it empty")
        found.append(CalibrationText(text, "query" if role == "query" else "document", title))
    return found


def _read_plain(path: Path) -> list[CalibrationText]:
    return [text for _, line in read_lines(path) for text in _in_both(line)]


def _in_both(text: str, title: str = "") -> list[CalibrationText]:
    return [CalibrationText(text, "document", title), CalibrationText(text, "query")]
