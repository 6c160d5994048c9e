"""Ollama's Modelfile: three instructions, and what its grammar cannot hold."""

import re

from exporter.errors import BadInput

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
QUOTES = '"""'


def plain_text(text: str) -> str:
    """Return `text` with only what survives in a Modelfile.

    Ollama drops every character that is not printable, U+3000 and U+00A0 among them: other white
    space becomes a plain space here, line ends become newlines, the rest goes.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = (c if c in "\n\t" or c.isprintable() else " " if c.isspace() else "" for c in lines)
    return "".join(kept)


def render_modelfile(gguf_name: str, *, num_ctx: int, license_text: str | None = None) -> str:
    """Return a Modelfile for an embedding model, which Ollama reads as it is meant.

    No TEMPLATE and no SYSTEM: Ollama does not apply them to embeddings, prompts are the caller's.
    Raises BadInput for a file name or a licence that the grammar cannot hold: a value ends with its
    line, loses what is not printable, and a block ends with the first line that ends in its quotes
    (ParseFile in https://github.com/ollama/ollama/blob/main/parser/parser.go).
    """
    if not gguf_name.isprintable() or gguf_name != gguf_name.rstrip():
        raise BadInput(
            f"no Modelfile can name the file {gguf_name!r}; give the checkpoint's folder a name "
            "in plain characters and export again"
        )
    text = f"FROM ./{gguf_name}\nPARAMETER num_ctx {num_ctx}\n"
    licence = plain_text(license_text or "").strip()
    if not licence:
        return text
    if any(line.rstrip().endswith(QUOTES) for line in licence.split("\n")[:-1]):
        raise BadInput(
            "the licence has a line that ends in three quotes, where a Modelfile's block ends; "
            "change it in the checkpoint's licence file and package again"
        )
    return f"{text}LICENSE {QUOTES}{licence}{QUOTES}\n"


def model_tag(model_name: str, scheme: str) -> str:
    """Return a name that `ollama create` accepts."""
    ending = f"-{scheme}"
    base = re.sub(r"[^a-z0-9_.-]+", "-", model_name.lower()).strip("-.")[: 80 - len(ending)]
    tag = (base.rstrip("-.") or "model") + ending
    assert MODEL_NAME.fullmatch(tag), tag
    return tag
