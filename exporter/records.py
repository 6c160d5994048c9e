"""The base of every validated, frozen record, and canonical JSON for them."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Record(BaseModel):
    """An immutable record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    @model_validator(mode="before")
    @classmethod
    def _a_version_is_a_number(cls, data: Any) -> Any:
        # To Python, true equals 1.
        if isinstance(data, dict) and isinstance(data.get("schema_version"), bool):
            raise ValueError("schema_version is no number")
        return data


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with stable key order, readable Chinese and a final newline."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as canonical JSON, atomically."""
    write_text(path, canonical_json(value))


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 with its own line ends, atomically."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(text, encoding="utf-8", newline="")
    temporary.replace(path)
