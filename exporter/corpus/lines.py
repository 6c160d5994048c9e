"""Text files and JSON lines, read line by line; a bad one is named by its file and line."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exporter.errors import BadInput


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) for each line that is not blank, without a byte order mark.

    Splits at newlines only. Raises BadInput naming line and byte where the file is not UTF-8.
    """
    if not path.is_file():
        raise BadInput(f"'{path}' is missing; pass a folder in BEIR's layout")
    with path.open("rb") as handle:
        for number, raw in enumerate(handle, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise BadInput(
                    f"'{path}' line {number}: not valid UTF-8 (byte {error.start} of the line); "
                    f"save it as UTF-8{_conversion(raw, path)}"
                ) from None
            if line.strip():
                yield number, line


def _conversion(raw: bytes, path: Path) -> str:
    """Return the command that converts a file with this line, where its encoding can be guessed."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding, name = "UTF-16", "UTF-16"
    else:
        try:
            raw.decode("gb18030")
        except UnicodeDecodeError:
            return ""
        encoding, name = "GB18030", "GBK"
    return f"; it reads as {name}: iconv -f {encoding} -t UTF-8 '{path.name}' > utf8{path.suffix}"


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a file in JSON lines. Raises BadInput where it holds none."""
    empty = True
    for number, line in read_lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"'{path}' line {number}: not valid JSON ({error})") from None
        if not isinstance(record, dict):
            raise BadInput(f"'{path}' line {number}: a JSON {type(record).__name__}, not an object")
        empty = False
        yield number, record
    if empty:
        raise BadInput(f"'{path}' holds no lines; a corpus needs documents and questions")


def identifier_of(
    record: Mapping[str, Any], path: Path, line: int, *, known: Mapping[str, Any]
) -> str:
    """Return the record's `_id`. Raises BadInput where it is missing, odd or already `known`."""
    identifier = string_of(record, "_id", path, line)
    if not identifier or "\t" in identifier:
        raise BadInput(f"'{path}' line {line}: _id {identifier!r} is empty or holds a tab")
    if identifier in known:
        raise BadInput(f"'{path}' line {line}: duplicate id '{identifier}'; ids must be unique")
    return identifier


def text_of(record: Mapping[str, Any], path: Path, line: int) -> str:
    """Return the record's `text`. Raises BadInput where there is none."""
    text = string_of(record, "text", path, line)
    if not text.strip():
        raise BadInput(f"'{path}' line {line}: empty text; remove the entry or fill it")
    return text


def string_of(record: Mapping[str, Any], key: str, path: Path, line: int) -> str:
    """Return a string of the record. Raises BadInput where it is no string of whole characters."""
    value = record.get(key)
    if not isinstance(value, str):
        found = "missing" if key not in record else f"{value!r:.40}, not a string"
        raise BadInput(f"'{path}' line {line}: {key} is {found}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise BadInput(f"'{path}' line {line}: {key} holds half a surrogate pair (broken escape)")
    return value
