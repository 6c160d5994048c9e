"""Read an evaluation corpus in BEIR layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.errors import BadInput


@dataclass(frozen=True)
class Corpus:
    """Documents sorted by id, queries sorted by id, and for each query its right documents."""

    name: str
    doc_ids: tuple[str, ...]
    titles: tuple[str, ...]
    texts: tuple[str, ...]
    query_ids: tuple[str, ...]
    queries: tuple[str, ...]
    qrels: dict[str, dict[str, int]]
    sha256: str
    """Of the three files, in the order documents, queries, qrels."""


def read_corpus(folder: Path, *, queries: Path | None = None) -> Corpus:
    """Read and check a corpus. `queries` replaces the folder's own queries file.

    Raises BadInput naming file and line: a duplicate id, an empty text, a qrel naming no document
    or query, a query without a qrel, broken JSON, invalid UTF-8, a score that is no number.
    """
    if not folder.is_dir():
        raise BadInput(f"no such corpus folder: '{folder}'; pass a folder in BEIR layout")
    qrels_path = _one(folder / "qrels", "*.tsv")
    split = qrels_path.stem
    corpus_path = folder / "corpus.jsonl"
    queries_path = queries or next(
        (p for p in (folder / f"queries.{split}.jsonl", folder / "queries.jsonl") if p.is_file()),
        folder / "queries.jsonl",
    )
    documents = sorted(_rows(corpus_path, titled=True))
    asked = sorted(_rows(queries_path, titled=False))
    qrels = _qrels(qrels_path, {d[0] for d in documents}, {q[0] for q in asked})
    without = next((q[0] for q in asked if q[0] not in qrels), None)
    if without is not None:
        raise BadInput(
            f"query '{without}' of '{queries_path}' has no right document in '{qrels_path}'; "
            "add one or remove the query"
        )
    digest = hashlib.sha256()
    for path in (corpus_path, queries_path, qrels_path):
        digest.update(path.read_bytes() + b"\0")
    return Corpus(
        name=folder.resolve().name,
        doc_ids=tuple(d[0] for d in documents),
        titles=tuple(d[1] for d in documents),
        texts=tuple(d[2] for d in documents),
        query_ids=tuple(q[0] for q in asked),
        queries=tuple(q[2] for q in asked),
        qrels=qrels,
        sha256=digest.hexdigest(),
    )


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise BadInput(f"'{folder}' has no {pattern}; a corpus needs qrels to be judged by")
    if len(found) > 1:
        preferred = [p for p in found if p.stem == "test"]
        if not preferred:
            names = ", ".join(p.name for p in found)
            raise BadInput(f"'{folder}' has several splits ({names}); keep one, or name one test")
        return preferred[0]
    return found[0]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise BadInput(f"'{path}' is missing; a corpus has corpus.jsonl, queries.jsonl and qrels/")
    for number, raw in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise BadInput(f"'{path}' line {number} is not valid UTF-8; save it as UTF-8") from None
        if line.strip():
            yield number, line


def _rows(path: Path, *, titled: bool) -> Iterator[tuple[str, str, str]]:
    seen: dict[str, int] = {}
    for number, line in _lines(path):
        where = f"'{path}' line {number}"
        try:
            row: Any = json.loads(line)
        except ValueError:
            raise BadInput(f"{where} is not valid JSON") from None
        if not isinstance(row, dict) or not isinstance(row.get("_id"), str):
            raise BadInput(f'{where} has no text "_id"; a line is {{"_id": ..., "text": ...}}')
        text, title = row.get("text"), row.get("title") or ""
        if not isinstance(text, str) or not text.strip():
            raise BadInput(
                f"{where} ('{row['_id']}') has an empty text; remove the line or fill it"
            )
        if not isinstance(title, str):
            raise BadInput(f"{where} ('{row['_id']}') has a title that is not text")
        if row["_id"] in seen:
            raise BadInput(f"{where} repeats the id '{row['_id']}' of line {seen[row['_id']]}")
        seen[row["_id"]] = number
        yield row["_id"], title if titled else "", text
    if not seen:
        raise BadInput(f"'{path}' is empty")


def _qrels(path: Path, documents: set[str], queries: set[str]) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, line in _lines(path):
        fields = line.split("\t")
        where = f"'{path}' line {number}"
        if number == 1 and fields[0] in ("query-id", "query_id"):
            continue
        if len(fields) != 3:
            raise BadInput(f"{where} has {len(fields)} tab-separated fields, not 3")
        query, document, score = fields
        try:
            value = int(score)
        except ValueError:
            raise BadInput(f"{where} has the score '{score}', not a whole number") from None
        if document not in documents:
            raise BadInput(f"{where} names the document '{document}', which is not in the corpus")
        if query not in queries:
            raise BadInput(f"{where} names the query '{query}', which is not among the queries")
        if value > 0:
            qrels.setdefault(query, {})[document] = value
    if not qrels:
        raise BadInput(f"'{path}' names no right document")
    return qrels
