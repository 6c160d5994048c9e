"""Read the JSON files of a checkpoint folder, and name what is wrong with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporter.errors import BadInput
from exporter.parsing import parse_json

MAX_JSON_BYTES = 200_000_000  # tokenizer.json of a 262,144 vocabulary is 33 MB


def read_json(path: Path) -> Any:
    """Return the value in `path`. Raises BadInput where it is missing, not UTF-8 or not JSON."""
    if not path.is_file():
        raise BadInput(
            f"'{path}' is missing; pass a complete folder saved by sentence-transformers"
        )
    if path.stat().st_size > MAX_JSON_BYTES:
        raise BadInput(f"'{path}' is over {MAX_JSON_BYTES:,} bytes, too large to be a config file")
    return parse_json(path.read_bytes(), f"'{path}'", remedy="copy the checkpoint again")


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`. Raises BadInput as `read_json` does, or for a list."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise BadInput(f"'{path}' holds a JSON {type(value).__name__}, not an object")
    return value


def take_int(config: Mapping[str, Any], key: str, *, path: Path, least: int = 1) -> int:
    """Return config[key], an integer of at least `least`. Raises BadInput naming file and key."""
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadInput(
            f"'{path}': {key} is {value!r}, not a whole number from {least} up; "
            "pass the config.json that belongs to these weights"
        )
    return value


def take_float(config: Mapping[str, Any], key: str, *, path: Path, default: float) -> float:
    """Return config[key] as a positive finite float, `default` where absent or null."""
    value = config.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
        raise BadInput(f"'{path}': {key} is {value!r}, not a positive number")
    return float(value)
