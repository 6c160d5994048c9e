"""Questions without answers: one a line, or BEIR's queries.jsonl."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from exporter.corpus.lines import identifier_of, read_lines, read_records, text_of
from exporter.errors import BadInput

LINES, RECORDS = (".txt",), (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Questions:
    """Questions in the order of their file. `sha256` is that of ids and texts."""

    name: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    sha256: str


def read_questions(path: Path) -> Questions:
    """Read .txt, one question a line, or .jsonl with `_id` and `text`.

    Questions of a .txt are known by their line number. Raises BadInput naming file and line.
    """
    if not path.is_file():
        raise BadInput(f"no such file of questions: '{path}'; pass --queries FILE")
    suffix = path.suffix.lower()
    asked: dict[str, str] = {}
    if suffix in LINES:
        asked = {str(number): line.strip() for number, line in read_lines(path)}
    elif suffix in RECORDS:
        for line, record in read_records(path):
            asked[identifier_of(record, path, line, known=asked)] = text_of(record, path, line)
    else:
        raise BadInput(
            f"'{path}' ends in '{suffix}'; pass questions as .txt, one a line, or as BEIR's "
            "queries.jsonl"
        )
    if not asked:
        raise BadInput(f"'{path}' holds no questions; write one a line")
    canonical = json.dumps([*asked.items()], ensure_ascii=False, separators=(",", ":"))
    return Questions(
        name=path.name,
        ids=tuple(asked),
        texts=tuple(asked.values()),
        sha256=hashlib.sha256(canonical.encode()).hexdigest(),
    )
