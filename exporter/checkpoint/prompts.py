"""The prompts that a checkpoint itself asks for: what sentence-transformers saved with it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.checkpoint.contents import Prompts
from exporter.checkpoint.json_file import read_object
from exporter.errors import BadInput

CONFIG_NAME = "config_sentence_transformers.json"
NEUTRAL = Prompts(query="{text}", document="{title} {text}")
"""Texts as they are, a title before its text, as BEIR and MTEB join them."""
QUERY_NAMES = ("query",)
DOCUMENT_NAMES = ("document", "passage", "corpus")
"""The names that `encode_query` and `encode_document` look for, in their order.
https://github.com/UKPLab/sentence-transformers/blob/v5.1.2/sentence_transformers/SentenceTransformer.py"""
FIELD = re.compile(r"\{(\w+)\}")
HALF_A_FIELD = re.compile(r"\{(?:text|title)(?!\})")
UNTITLED = "title: none | text: "
"""EmbeddingGemma's prefix of a document without a title. Its card puts a title where `none` is:
https://ai.google.dev/gemma/docs/embeddinggemma/model_card"""


@dataclass(frozen=True)
class SavedPrompts:
    """The prompts of a checkpoint. `named`: all, by name, as saved. `own`: templates that give
    what sentence-transformers encodes, a title before its text."""

    named: Mapping[str, str]
    own: Prompts


def read_saved_prompts(folder: Path) -> SavedPrompts:
    """Return what is saved in a checkpoint's folder, `NEUTRAL` where nothing is.

    Raises BadInput where prompts are no strings, or the default names one that is not there.
    """
    path = folder / CONFIG_NAME
    config = read_object(path) if path.is_file() else {}
    named = config.get("prompts") or {}
    if not isinstance(named, dict) or not all(isinstance(v, str) for v in named.values()):
        raise BadInput(f"'{path}': prompts is not an object of strings; re-save the checkpoint")
    default = config.get("default_prompt_name")
    marked = next((name for name, text in named.items() if "{text}" in text), None)
    if marked is not None:
        raise BadInput(
            f"'{path}': the prompt '{marked}' holds {{text}}, which sentence-transformers would "
            "put before a text as it stands; save it as a prefix"
        )
    if default is not None and (not isinstance(default, str) or default not in named):
        raise BadInput(
            f"'{path}': default_prompt_name is {default!r}, which is none of its prompts; "
            "re-save the checkpoint"
        )
    query, document = (
        next((named[name] for name in (*names, default) if name in named), "")
        for names in (QUERY_NAMES, DOCUMENT_NAMES)
    )
    return SavedPrompts(
        named, Prompts(query=query + NEUTRAL.query, document=document + NEUTRAL.document)
    )


def with_titles(own: Prompts) -> Prompts | None:
    """Return the convention that EmbeddingGemma's card gives for documents with a title, None for
    prompts that are not EmbeddingGemma's."""
    if own.document != UNTITLED + NEUTRAL.document:
        return None
    return own.model_copy(update={"document": "title: {title} | text: {text}"})


def check_templates(prompts: Prompts) -> None:
    """Raise BadInput for a template that someone wrote with a field that is none, or half a one: it
    would be a prefix. Prompts saved with a checkpoint are not templates, their braces are text."""
    for role in ("query", "document"):
        template = getattr(prompts, role)
        for name in FIELD.findall(template):
            if name not in ("text", "title"):
                raise BadInput(f"{role}: {{{name}}} is neither {{text}} nor {{title}}")
        if HALF_A_FIELD.search(template):
            raise BadInput(f"{role}: a field is not closed; write {{text}} or {{title}}")


def as_option(prompts: Prompts) -> str:
    """Return prompts as `--prompts` takes them, quoted for a shell."""
    value = f"query={prompts.query},document={prompts.document}"
    return "'" + value.replace("'", "'\\''") + "'"
