"""Read JSON and TOML that may come from anyone: whatever is wrong with it is the input's error."""

import json
import re
import tomllib
from collections.abc import Callable
from functools import partial
from typing import Any

from exporter.errors import BadInput

HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(content: str | bytes, where: str, *, remedy: str, twice: bool = True) -> Any:
    """Return the value that JSON spells. `twice`: whether a key may stand in an object twice.

    Raises BadInput, `where` first and `remedy` last, for what is not UTF-8 or JSON, is nested too
    deeply, or holds a number of thousands of digits or half a surrogate pair.
    """
    text = _text(content, where, remedy)
    once = None if twice else partial(_once, where=where, remedy=remedy)
    value = _parsed(partial(json.loads, object_pairs_hook=once), text, "JSON", where, remedy)
    if HALF_A_PAIR.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise BadInput(f"{where} holds half a surrogate pair (\\ud800); {remedy}") from None
    return value


def parse_toml(content: str | bytes, where: str, *, remedy: str) -> dict[str, Any]:
    """Return the table that TOML spells. Raises BadInput as `parse_json` does."""
    found: dict[str, Any] = _parsed(
        tomllib.loads, _text(content, where, remedy), "TOML", where, remedy
    )
    return found


def _once(pairs: list[tuple[str, Any]], *, where: str, remedy: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadInput(f"{where} names {key!r} twice; {remedy}")
        found[key] = value
    return found


def _text(content: str | bytes, where: str, remedy: str) -> str:
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{where} is not valid UTF-8 (byte {error.start}); {remedy}") from None


def _parsed(parse: Callable[[str], Any], text: str, language: str, where: str, remedy: str) -> Any:
    try:
        return parse(text)
    except json.JSONDecodeError as error:
        why = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except tomllib.TOMLDecodeError as error:
        why = str(error)
    except RecursionError:
        raise BadInput(f"{where} is nested too deeply; {remedy}") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        why = "a number of thousands of digits"
    raise BadInput(f"{where} is not valid {language} ({why}); {remedy}")
