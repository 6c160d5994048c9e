"""Under which terms a checkpoint is, as its own card says it. Nothing is guessed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from huggingface_hub.repocard import metadata_load

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.hub import HUB_ID
from exporter.errors import BadInput
from exporter.records import Record

GEMMA_TERMS = "https://ai.google.dev/gemma/terms"
GEMMA_BASES = ("google/embeddinggemma-300m", "google/gemma-3")
"""Beginnings of the ids of base models whose own cards say `license: gemma`. Their terms bind
derivatives, whatever a fine-tuned model's card says."""
GEMMA_NOTICE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms"
)
"""The sentence that section 3.1 of those terms wants beside every distributed copy."""
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt")


class Terms(Record):
    """`licence`, `name` and `link` are the card's; None where it states none."""

    licence: str | None
    name: str | None
    link: str | None
    base_models: tuple[str, ...]
    gemma: bool
    """The licence or a base model is Gemma's."""
    files: tuple[str, ...]
    """Licence files beside the checkpoint."""
    languages: tuple[str, ...]


def read_terms(checkpoint: Checkpoint) -> Terms:
    """Return what the front matter of the checkpoint's README.md states, and of an adapter's base.

    Raises BadInput where it is no valid YAML: a licence could stand in it.
    """
    stated = _front_matter(checkpoint.path / "README.md")
    licence, bases = _text(stated, "license"), _texts(stated, "base_model")
    of_base: Mapping[str, Any] = {}
    if checkpoint.adapter is not None:
        of_base = _front_matter(checkpoint.adapter.base / "README.md")
        record = checkpoint.adapter.record
        named = [n for n in (record.base_named, record.base) if n and HUB_ID.fullmatch(n)]
        bases = tuple(dict.fromkeys([*bases, *named[:1]]))
    of_all = (*bases, *_texts(of_base, "base_model"))
    known = any(base.lower().startswith(GEMMA_BASES) for base in of_all)
    return Terms(
        licence=licence,
        name=_text(stated, "license_name"),
        link=_text(stated, "license_link"),
        base_models=bases,
        gemma=known or "gemma" in (licence, _text(of_base, "license")),
        files=tuple(n for n in LICENCE_FILES if (checkpoint.path / n).is_file()),
        languages=_texts(stated, "language"),
    )


def licence_of(card: Path) -> str | None:
    """Return the one licence that a card's front matter states, None where it states none.

    Raises BadInput where it is no valid YAML.
    """
    return _text(_front_matter(card), "license")


def _front_matter(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        found: Any = metadata_load(path)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError):
        raise BadInput(
            f"the front matter of '{path}' is not valid YAML in UTF-8, so its licence cannot be "
            "read; mend it, or remove the block between its --- lines"
        ) from None
    return found if isinstance(found, dict) else {}


def _text(stated: Mapping[str, Any], key: str) -> str | None:
    value = stated.get(key)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value.strip() if isinstance(value, str) and value.strip() else None


def _texts(stated: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = stated.get(key)
    values = value if isinstance(value, list) else [value]
    return tuple(v.strip() for v in values if isinstance(v, str) and v.strip())
