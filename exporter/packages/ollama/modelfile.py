"""Ollama's Modelfile: written, and read back as Ollama reads it.

The grammar is that of ParseFile in https://github.com/ollama/ollama/blob/main/parser/parser.go,
one pass over the characters. Its surprises are kept: a file that this tool read in another way
would prove nothing.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from exporter.errors import BadInput
from exporter.records import Record

INSTRUCTIONS = (
    "from",
    "license",
    "template",
    "system",
    "adapter",
    "draft",
    "renderer",
    "parser",
    "parameter",
    "message",
    "requires",
)
ROLES = ("system", "user", "assistant")
# What Go's strconv takes, and no more: Python's int() would also take 1_000.
WHOLE, REAL = r"[+-]?[0-9]+", r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
PARAMETERS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "num_ctx",
            "num_batch",
            "num_gpu",
            "main_gpu",
            "num_thread",
            "num_keep",
            "num_predict",
            "seed",
            "top_k",
            "repeat_last_n",
        ),
        WHOLE,
    ),
    **dict.fromkeys(
        (
            "temperature",
            "top_p",
            "min_p",
            "typical_p",
            "repeat_penalty",
            "presence_penalty",
            "frequency_penalty",
        ),
        REAL,
    ),
    "use_mmap": "1|t|T|TRUE|true|True|0|f|F|FALSE|false|False",
    "stop": r"(?s).*",
}
MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
QUOTES = '"""'


class Instruction(Record):
    """One instruction: its name in lower case, and its value without quotes.

    The value of a parameter begins with its name, that of a message with its role.
    """

    name: str
    value: str


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
    Raises BadInput for a file name or a licence that the grammar cannot hold.
    """
    text = f"FROM ./{gguf_name}\nPARAMETER num_ctx {num_ctx}\n"
    meant = [
        Instruction(name="from", value=f"./{gguf_name}"),
        Instruction(name="parameter", value=f"num_ctx {num_ctx}"),
    ]
    if not _says(text, meant):
        raise BadInput(
            f"no Modelfile can name the file {gguf_name!r}; give the checkpoint's folder a name "
            "in plain characters and export again"
        )
    licence = plain_text(license_text or "").strip()
    if not licence:
        return text
    text += f"LICENSE {QUOTES}{licence}{QUOTES}\n"
    if not _says(text, [*meant, Instruction(name="license", value=licence)]):
        raise BadInput("the licence has a line ending in three quotes, which ends a block")
    return text


def _says(text: str, meant: list[Instruction]) -> bool:
    try:
        return list(parse_modelfile(text)) == meant
    except BadInput:
        return False


def parse_modelfile(text: str) -> tuple[Instruction, ...]:
    """Return the instructions as Ollama reads them. Raises BadInput naming the line it refuses.

    A value ends with its line; one that begins with a quote goes on until a line ends in the same
    quote.
    """
    found: list[Instruction] = []
    state, buffer, name, prefix, line = "nil", "", "", "", 1
    for character in text.removeprefix("\ufeff"):
        line += character in "\r\n"
        following = _next_state(state, character, line)
        if state == "value" and following != state:
            value = _unquote(buffer.strip())
            if value is None or character in " \t":
                buffer += character
                continue
            found.append(Instruction(name=name, value=prefix + value))
        if following != state:
            if state == "name":
                name, prefix = _known(buffer, line), ""
                following = name if name in ("parameter", "message") else "value"
            elif state == "parameter":
                prefix = buffer + " "
            elif state == "message":
                if buffer not in ROLES:
                    raise _refused(line, f"message role '{buffer}' is none of {', '.join(ROLES)}")
                prefix = buffer + ": "
            buffer, state = "", following
            if state != "name":
                continue
        if character.isprintable():
            buffer += character
    if state == "value":
        value = _unquote(buffer.strip())
        if value is None:
            raise _refused(line, "a quote is never closed")
        found.append(Instruction(name=name, value=prefix + value))
    elif state not in ("comment", "nil"):
        raise _refused(line, f"'{buffer}' has no value")
    if not any(instruction.name == "from" for instruction in found):
        raise BadInput("the Modelfile has no FROM")
    return tuple(found)


def _next_state(state: str, character: str, line: int) -> str:
    if state == "nil":
        return "comment" if character == "#" else "nil" if character in " \t\r\n" else "name"
    if state == "comment":
        return "nil" if character in "\r\n" else "comment"
    if state == "value":
        return "nil" if character in " \t\r\n" else "value"
    if character in " \t":
        return "value"
    if character.isascii() and (
        character.isalpha() or (state == "parameter" and (character.isdigit() or character == "_"))
    ):
        return state
    if character in "\r\n":
        raise _refused(line - 1, f"the {'instruction' if state == 'name' else state} has no value")
    raise _refused(line, f"{character!r} within the name of an instruction, parameter or role")


def _known(word: str, line: int) -> str:
    if word.lower() not in INSTRUCTIONS:
        raise _refused(line, f"unknown instruction '{word}'")
    return word.lower()


def _unquote(value: str) -> str | None:
    """Return what the quotes of `value` hold, None where they are not closed yet."""
    for quote in (QUOTES, '"'):
        if value.startswith(quote):
            closed = len(value) >= 2 * len(quote) and value.endswith(quote)
            return value[len(quote) : -len(quote)] if closed else None
    return value


def _refused(line: int, why: str) -> BadInput:
    return BadInput(f"Modelfile line {line}: {why}; Ollama refuses it")


def check_modelfile(folder: Path) -> tuple[Instruction, ...]:
    """Parse `folder`/Modelfile and check what Ollama finds out late, or never says.

    A FROM path that does not exist is silently taken for a model's name by Ollama, so the file
    must be there. Raises BadInput.
    """
    instructions = parse_modelfile((folder / "Modelfile").read_text(encoding="utf-8"))
    if sum(i.name == "from" for i in instructions) != 1:
        raise BadInput("Modelfile: more than one FROM; one is needed")
    for instruction in instructions:
        if instruction.name == "from":
            target = folder / instruction.value
            if not instruction.value.startswith("./") or not target.is_file():
                raise BadInput(f"Modelfile: FROM '{instruction.value}' is no file in '{folder}'")
        if instruction.name in ("template", "system", "message"):
            raise BadInput(f"Modelfile: {instruction.name.upper()} has no effect on embeddings")
        if instruction.name == "parameter":
            _check_parameter(*instruction.value.partition(" ")[::2])
    return instructions


def _check_parameter(key: str, value: str) -> None:
    if key not in PARAMETERS:
        raise BadInput(f"Modelfile: unknown PARAMETER '{key}'")
    if re.fullmatch(PARAMETERS[key], value) is None:
        kind = {WHOLE: "a whole number", REAL: "a number"}.get(PARAMETERS[key], "true or false")
        raise BadInput(f"Modelfile: PARAMETER {key} is '{value}', not {kind}")


def model_tag(model_name: str, scheme: str) -> str:
    """Return a name that `ollama create` accepts."""
    ending = f"-{scheme}"
    base = re.sub(r"[^a-z0-9_.-]+", "-", model_name.lower()).strip("-.")[: 80 - len(ending)]
    tag = (base.rstrip("-.") or "model") + ending
    assert MODEL_NAME.fullmatch(tag), tag
    return tag
