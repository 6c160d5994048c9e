"""A vocabulary cut to what a domain needs: read, and put in place of the checkpoint's own."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from exporter.checkpoint.contents import Checkpoint, Vocabulary
from exporter.checkpoint.json_file import read_object
from exporter.errors import BadInput
from exporter.hashing import sha256_file
from exporter.records import Record, write_json
from exporter.staging import copy_present

MAP_NAME = "vocabulary.json"
CONFIG_NAME = "config.json"
MAKE_ONE = "make one with 'lawvault vocabulary'"


class CountedTexts(Record):
    """Texts whose pieces were kept. `sha256`: of all of them, as they were tokenized."""

    name: str
    texts: int
    sha256: str


class VocabularyMap(Record):
    """vocabulary.json: which pieces stay, and why.

    `tokenizer_sha256`: of the tokenizer.json that was cut. `pieces`: how many it has. `kept`: see
    `Vocabulary.kept`. `classes`: pieces kept whether counted or not. `files`: SHA-256 of what was
    written beside it.
    """

    schema_version: Literal[1] = 1
    tool_version: str
    tokenizer_sha256: str
    pieces: int = Field(ge=1)
    kept: tuple[int, ...] = Field(min_length=1)
    classes: tuple[str, ...]
    counted: tuple[CountedTexts, ...]
    files: dict[str, str]


def write_map(folder: Path, found: VocabularyMap) -> None:
    """Write vocabulary.json, the ids on one line."""
    write_json(folder / MAP_NAME, {**found.model_dump(mode="json"), "kept": []})
    path = folder / MAP_NAME
    text = path.read_text(encoding="utf-8")
    ids = json.dumps(found.kept, separators=(",", ":"))
    path.write_text(text.replace('"kept": []', f'"kept": {ids}'), encoding="utf-8", newline="")


def read_map(folder: Path) -> VocabularyMap:
    """Read the vocabulary.json of a vocabulary, or of an artifact that has one. Raises BadInput."""
    path = folder / MAP_NAME
    if not path.is_file():
        raise BadInput(f"'{folder}' has no {MAP_NAME}; {MAKE_ONE}")
    try:
        return VocabularyMap.model_validate(read_object(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        raise BadInput(f"'{path}': {where}: {first['msg']}; {MAKE_ONE}") from None


def check_unchanged(folder: Path, found: VocabularyMap) -> None:
    """Raise BadInput for the first file of a vocabulary that is missing or was changed."""
    for name, digest in found.files.items():
        path = folder / name
        if not path.is_file() or sha256_file(path) != digest:
            raise BadInput(f"'{path}' is missing or was changed after it was made; {MAKE_ONE}")


def with_vocabulary(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """Return the checkpoint, its artifacts cut to the vocabulary in `folder`.

    Raises BadInput for a vocabulary of another tokenizer, one that was changed after it was made,
    and a model whose graph is traced.
    """
    if not folder.is_dir():
        raise BadInput(f"no such vocabulary: '{folder}'; {MAKE_ONE}")
    found = read_map(folder)
    if checkpoint.architecture is None:
        raise BadInput(
            f"'{checkpoint.path}' is {checkpoint.model_type}, whose graph is traced: its table "
            "cannot be cut; leave --vocabulary out"
        )
    ours = sha256_file(checkpoint.path / "tokenizer.json")
    if ours != found.tokenizer_sha256:
        raise BadInput(
            f"'{folder}' was cut from another tokenizer ({found.pieces:,} pieces, sha256 "
            f"{found.tokenizer_sha256[:12]}) than that of '{checkpoint.path}' ({ours[:12]}): "
            "its ids would name other rows; make one of this checkpoint with 'lawvault vocabulary'"
        )
    check_unchanged(folder, found)
    kept = np.array(found.kept, np.int64)
    rows = checkpoint.architecture.vocab_size
    if kept[0] < 0 or kept[-1] >= rows or (np.diff(kept) <= 0).any():
        raise BadInput(
            f"'{folder / MAP_NAME}': kept are not ascending ids below {rows:,}; {MAKE_ONE}"
        )
    return replace(checkpoint, vocabulary=Vocabulary(folder, kept, sha256_file(folder / MAP_NAME)))


def copy_beside(names: Iterable[str], checkpoint: Checkpoint, stage: Path) -> None:
    """Copy what an encoder needs beside a model: those of `names` that there are, as they are for
    the checkpoint's vocabulary, and its map where it is cut."""
    if checkpoint.vocabulary is None:
        copy_present(names, checkpoint.path, stage)
        return
    copy_present((*names, MAP_NAME), checkpoint.vocabulary.folder, stage)
    if CONFIG_NAME in names:
        config = read_object(checkpoint.path / CONFIG_NAME)
        write_json(stage / CONFIG_NAME, cut_config(config, checkpoint.vocabulary))


def cut_config(config: dict[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a model's config.json with the number of pieces and the ids that hold after the cut;
    ids of pieces that are gone are left out."""
    to = {int(old): new for new, old in enumerate(vocabulary.kept)}
    made = {**config, "vocab_size": len(vocabulary.kept)}
    for key, value in config.items():
        if key.endswith("_token_id") and isinstance(value, int):
            if value in to:
                made[key] = to[value]
            else:
                del made[key]
    return made
