"""Read an evaluation corpus in BEIR's layout, and refuse what would falsify a figure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from exporter.corpus.lines import identifier_of, read_lines, read_records, string_of, text_of
from exporter.errors import BadInput

EVALUATION_SPLITS = ("test", "dev")
MAX_DIGITS = 10  # grades are 32-bit integers to the measures' library
HEADER_FIELDS = 3


@dataclass(frozen=True)
class Corpus:
    """Documents and questions, both in ascending order of id, and which answers which.

    `qrels`: question id -> document id -> grade; a grade above 0 is a right answer, and every
    question has one. `sha256` is that of the content: ids, titles, texts, questions, grades.
    """

    name: str
    split: str
    doc_ids: tuple[str, ...]
    titles: tuple[str, ...]
    texts: tuple[str, ...]
    query_ids: tuple[str, ...]
    queries: tuple[str, ...]
    qrels: dict[str, dict[str, int]]
    sha256: str


def read_corpus(folder: Path, *, queries: Path | None = None) -> Corpus:
    """Read corpus.jsonl, queries and qrels/<split>.tsv of `folder`.

    The split is that of `queries` (queries.<split>.jsonl) where given, else the only one there,
    else the only one of test and dev. Raises BadInput naming file and line.
    """
    if not folder.is_dir():
        raise BadInput(f"no such corpus folder: '{folder}'; pass --corpus FOLDER in BEIR's layout")
    split, queries_path = _choose_split(folder, queries)
    documents = read_documents(folder)
    asked: dict[str, str] = {}
    for line, record in read_records(queries_path):
        identifier = identifier_of(record, queries_path, line, known=asked)
        asked[identifier] = text_of(record, queries_path, line)
    qrels_path = folder / "qrels" / f"{split}.tsv"
    qrels = _read_qrels(qrels_path, documents=documents, queries=asked)
    asked = _asked_in_split(asked, qrels, folder=folder, split=split, queries_path=queries_path)
    return make_corpus(documents, asked, qrels, name=folder.resolve().name, split=split)


def make_corpus(
    documents: Mapping[str, tuple[str, str]],
    asked: Mapping[str, str],
    qrels: Mapping[str, dict[str, int]],
    *,
    name: str,
    split: str,
) -> Corpus:
    """Return the corpus of documents, id -> (title, text), and questions, id -> text."""
    documents, asked = dict(sorted(documents.items())), dict(sorted(asked.items()))
    content = [[*d] for d in documents.items()], [*asked.items()], {q: qrels[q] for q in asked}
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Corpus(
        name=name,
        split=split,
        doc_ids=tuple(documents),
        titles=tuple(title for title, _ in documents.values()),
        texts=tuple(text for _, text in documents.values()),
        query_ids=tuple(asked),
        queries=tuple(asked.values()),
        qrels={query: qrels[query] for query in asked},
        sha256=hashlib.sha256(canonical.encode()).hexdigest(),
    )


def read_documents(folder: Path) -> dict[str, tuple[str, str]]:
    """Read corpus.jsonl of `folder`. Returns id -> (title, text), in the order of the file.

    Raises BadInput naming file and line.
    """
    if not folder.is_dir():
        raise BadInput(f"no such corpus folder: '{folder}'; pass --corpus FOLDER in BEIR's layout")
    path = folder / "corpus.jsonl"
    documents: dict[str, tuple[str, str]] = {}
    for line, record in read_records(path):
        identifier = identifier_of(record, path, line, known=documents)
        title = string_of(record, "title", path, line) if "title" in record else ""
        documents[identifier] = (title, text_of(record, path, line))
    return documents


def read_questions(folder: Path) -> dict[str, str]:
    """Read every queries*.jsonl of `folder`, of whatever split. Returns id -> text.

    Raises BadInput naming file and line, or where there is none.
    """
    paths = sorted(folder.glob("queries*.jsonl"))
    if not paths:
        raise BadInput(f"'{folder}' has no queries.jsonl; a folder in BEIR's layout needs one")
    asked: dict[str, str] = {}
    for path in paths:
        for line, record in read_records(path):
            identifier = identifier_of(record, path, line, known={})
            asked[identifier] = text_of(record, path, line)
    return asked


def _choose_split(folder: Path, queries: Path | None) -> tuple[str, Path]:
    splits = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
    if not splits:
        raise BadInput(f"'{folder / 'qrels'}' holds no <split>.tsv; a corpus needs its answers")
    named = None
    if queries is not None:
        if not queries.is_file():
            raise BadInput(f"no such file of questions: '{queries}'")
        named = queries.stem.removeprefix("queries.")
    if named in splits:
        split = str(named)
    elif len(splits) == 1:
        split = splits[0]
    else:
        usable = [split for split in EVALUATION_SPLITS if split in splits]
        if len(usable) != 1:
            raise BadInput(
                f"'{folder / 'qrels'}' holds several splits ({', '.join(splits)}); choose one "
                f"with --queries queries.{splits[0]}.jsonl"
            )
        split = usable[0]
    if queries is not None:
        return split, queries
    for path in (folder / f"queries.{split}.jsonl", folder / "queries.jsonl"):
        if path.is_file():
            return split, path
    raise BadInput(f"'{folder}' has neither queries.{split}.jsonl nor queries.jsonl")


def _asked_in_split(
    asked: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    folder: Path,
    split: str,
    queries_path: Path,
) -> dict[str, str]:
    elsewhere: set[str] = set()
    if any(query not in qrels for query in asked):
        # BEIR's queries.jsonl holds the questions of all splits together.
        for path in sorted((folder / "qrels").glob("*.tsv")):
            if path.stem != split:
                elsewhere |= {row.split("\t")[0] for _, row in read_lines(path)}
    kept = {}
    for query, text in asked.items():
        if query in qrels:
            if not any(grade > 0 for grade in qrels[query].values()):
                raise BadInput(
                    f"question '{query}' has no right answer in qrels/{split}.tsv (all its scores "
                    f"are 0); correct it, or remove the question from '{queries_path}'"
                )
            kept[query] = text
        elif query not in elsewhere:
            raise BadInput(
                f"question '{query}' of '{queries_path}' has no answer in qrels/{split}.tsv; add "
                "its qrel or remove the question"
            )
    return kept


def _read_qrels(
    path: Path, *, documents: Mapping[str, Any], queries: Mapping[str, Any]
) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for line, row in read_lines(path):
        fields = row.split("\t")
        if len(fields) != HEADER_FIELDS:
            raise BadInput(
                f"'{path}' line {line}: {len(fields)} fields, not 3 (query-id, corpus-id, score) "
                "separated by tabs"
            )
        query, document, score = fields
        grade = _whole_number(score)
        if line == 1:
            if grade is not None:
                raise BadInput(
                    f"'{path}' line 1: the header is missing; put in front "
                    "'query-id<TAB>corpus-id<TAB>score'"
                )
            continue
        if grade is None:
            raise BadInput(f"'{path}' line {line}: score {score!r:.60} is not a whole number")
        if query not in queries:
            raise BadInput(f"'{path}' line {line}: names no question: '{query}'")
        if document not in documents:
            raise BadInput(f"'{path}' line {line}: names no document: '{document}'")
        if document in qrels.setdefault(query, {}):
            raise BadInput(f"'{path}' line {line}: grades '{query}', '{document}' a second time")
        qrels[query][document] = grade
    if not qrels:
        raise BadInput(f"'{path}' holds no answers; a corpus needs at least one")
    return qrels


def _whole_number(text: str) -> int | None:
    """Return a grade; None for what is no whole number or too long for one."""
    try:
        return int(text) if len(text) < MAX_DIGITS else None
    except ValueError:
        return None


TextRole = Literal["document", "question"]
