"""Ollama's Modelfile: written, and read back by its grammar.

Grammar: https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx and parser/parser.go:
instructions are case-insensitive, `#` starts a comment line, a block opened by three quotes ends
at the first line that ends in three quotes, non-printable runes (U+3000 among them) are dropped
outside comments.
"""

import re
import unicodedata
from pathlib import Path

from exporter.errors import BadInput
from exporter.records import Record

INSTRUCTIONS = ("from", "license", "template", "system", "adapter", "draft", "renderer", "parser",
                "parameter", "message", "requires")  # fmt: skip
INTEGER_PARAMETERS = ("num_ctx", "num_predict", "seed", "top_k", "num_gpu", "num_thread",
                      "num_batch", "repeat_last_n")  # fmt: skip
MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
QUOTES = '"""'


class Instruction(Record):
    """One instruction: its name in lower case, and its value."""

    name: str
    value: str


def render_modelfile(gguf_name: str, *, num_ctx: int, license_text: str | None = None) -> str:
    """Return a Modelfile for an embedding model.

    No TEMPLATE and no SYSTEM: Ollama does not apply them to embeddings, prompts are the caller's.
    Raises BadInput for a licence that the grammar cannot hold.
    """
    lines = [f"FROM ./{gguf_name}", f"PARAMETER num_ctx {num_ctx}"]
    if license_text is not None:
        text = license_text.strip()
        if any(line.endswith(QUOTES) for line in text.splitlines()):
            raise BadInput("the licence has a line ending in three quotes, which ends a block")
        lines.append(f"LICENSE {QUOTES}\n{text}\n{QUOTES}")
    return "\n".join(lines) + "\n"


def parse_modelfile(text: str) -> tuple[Instruction, ...]:
    """Return the instructions as Ollama reads them. Raises BadInput naming the line."""
    found: list[Instruction] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        raw = lines[at].strip()
        at += 1
        if not raw or raw.startswith("#"):
            continue
        line = _printable(raw)
        name, _, value = line.partition(" ")
        if name.lower() not in INSTRUCTIONS:
            raise BadInput(f"Modelfile line {at}: unknown instruction '{name}'")
        value = value.strip()
        if value.startswith(QUOTES):
            start = at
            value = value[3:]
            while not value.endswith(QUOTES):
                if at == len(lines):
                    raise BadInput(f"Modelfile line {start}: a block is never closed")
                value += "\n" + _printable(lines[at]).rstrip()
                at += 1
            value = value[:-3].strip("\n")
        if not value:
            raise BadInput(f"Modelfile line {at}: {name} has no value")
        found.append(Instruction(name=name.lower(), value=value))
    if not any(i.name == "from" for i in found):
        raise BadInput("the Modelfile has no FROM")
    return tuple(found)


def _printable(line: str) -> str:
    return "".join(
        c for c in line
        if c in " \t" or unicodedata.category(c)[0] not in "CZ"
    )  # fmt: skip


def check_modelfile(folder: Path) -> tuple[Instruction, ...]:
    """Parse `folder`/Modelfile and check that it says what was meant.

    A FROM path that does not exist is silently taken for a model's name by Ollama, so the file
    must be there. Raises BadInput.
    """
    instructions = parse_modelfile((folder / "Modelfile").read_text(encoding="utf-8"))
    for instruction in instructions:
        if instruction.name == "from":
            target = folder / instruction.value
            if not instruction.value.startswith("./") or not target.is_file():
                raise BadInput(f"Modelfile: FROM '{instruction.value}' is no file in '{folder}'")
        if instruction.name in ("template", "system"):
            raise BadInput(f"Modelfile: {instruction.name.upper()} has no effect on embeddings")
        if instruction.name == "parameter":
            key, _, value = instruction.value.partition(" ")
            if key in INTEGER_PARAMETERS and not re.fullmatch(r"-?\d+", value.strip()):
                raise BadInput(f"Modelfile: PARAMETER {key} is '{value}', not a whole number")
    return instructions


def model_tag(model_name: str, scheme: str) -> str:
    """Return a name that `ollama create` accepts."""
    base = re.sub(r"[^a-z0-9_.-]+", "-", model_name.lower()).strip("-.") or "model"
    tag = f"{base}-{scheme}"
    assert MODEL_NAME.fullmatch(tag[:80]), tag
    return tag[:80]
