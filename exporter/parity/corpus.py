"""Read an evaluation corpus in BEIR's layout, and refuse what would falsify a figure."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.errors import BadInput

EVALUATION_SPLITS = ("test", "dev")
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
    corpus_path = folder / "corpus.jsonl"
    documents: dict[str, tuple[str, str]] = {}
    for line, record in _records(corpus_path):
        identifier = _identifier(record, corpus_path, line, known=documents)
        title = _string(record, "title", corpus_path, line) if "title" in record else ""
        documents[identifier] = (title, _text(record, corpus_path, line))
    asked: dict[str, str] = {}
    for line, record in _records(queries_path):
        identifier = _identifier(record, queries_path, line, known=asked)
        asked[identifier] = _text(record, queries_path, line)
    qrels_path = folder / "qrels" / f"{split}.tsv"
    qrels = _read_qrels(qrels_path, documents=documents, queries=asked)
    asked = _asked_in_split(asked, qrels, folder=folder, split=split, queries_path=queries_path)
    documents, asked = dict(sorted(documents.items())), dict(sorted(asked.items()))
    content = [[*d] for d in documents.items()], [*asked.items()], {q: qrels[q] for q in asked}
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Corpus(
        name=folder.resolve().name,
        split=split,
        doc_ids=tuple(documents),
        titles=tuple(title for title, _ in documents.values()),
        texts=tuple(text for _, text in documents.values()),
        query_ids=tuple(asked),
        queries=tuple(asked.values()),
        qrels={query: qrels[query] for query in asked},
        sha256=hashlib.sha256(canonical.encode()).hexdigest(),
    )


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
                elsewhere |= {row.split("\t")[0] for _, row in _lines(path)}
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
    for line, row in _lines(path):
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
            raise BadInput(f"'{path}' line {line}: score {score!r} is not a whole number")
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
    try:
        return int(text)
    except ValueError:
        return None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) for each line that is not blank. Splits at newlines only."""
    if not path.is_file():
        raise BadInput(f"'{path}' is missing; pass a folder in BEIR's layout")
    with path.open("rb") as handle:
        for number, raw in enumerate(handle, start=1):
            try:
                line = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise BadInput(
                    f"'{path}' line {number}: not valid UTF-8 (byte {error.start} of the line); "
                    "save it as UTF-8"
                ) from None
            if line.strip():
                yield number, line


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    empty = True
    for number, line in _lines(path):
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise BadInput(f"'{path}' line {number}: not valid JSON ({error})") from None
        if not isinstance(record, dict):
            raise BadInput(f"'{path}' line {number}: a JSON {type(record).__name__}, not an object")
        empty = False
        yield number, record
    if empty:
        raise BadInput(f"'{path}' holds no lines; a corpus needs documents and questions")


def _identifier(
    record: Mapping[str, Any], path: Path, line: int, *, known: Mapping[str, Any]
) -> str:
    identifier = _string(record, "_id", path, line)
    if not identifier or "\t" in identifier:
        raise BadInput(f"'{path}' line {line}: _id {identifier!r} is empty or holds a tab")
    if identifier in known:
        raise BadInput(f"'{path}' line {line}: duplicate id '{identifier}'; ids must be unique")
    return identifier


def _text(record: Mapping[str, Any], path: Path, line: int) -> str:
    text = _string(record, "text", path, line)
    if not text.strip():
        raise BadInput(f"'{path}' line {line}: empty text; remove the entry or fill it")
    return text


def _string(record: Mapping[str, Any], key: str, path: Path, line: int) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        found = "missing" if key not in record else f"{value!r:.40}, not a string"
        raise BadInput(f"'{path}' line {line}: {key} is {found}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise BadInput(f"'{path}' line {line}: {key} holds half a surrogate pair (broken escape)")
    return value
