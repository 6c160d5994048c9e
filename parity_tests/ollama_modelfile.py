"""A Modelfile as Ollama reads it, to hold what the packager writes against.

The grammar is that of ParseFile in https://github.com/ollama/ollama/blob/main/parser/parser.go, one
pass over the characters, its surprises kept.
"""

from dataclasses import dataclass

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
QUOTES = '"""'


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name in lower case, and its value without quotes.

    The value of a parameter begins with its name, that of a message with its role.
    """

    name: str
    value: str


def parse_modelfile(text: str) -> tuple[Instruction, ...]:
    """Return the instructions as Ollama reads them. Raises ValueError naming the line it refuses.

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
        raise ValueError("the Modelfile has no FROM")
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


def _refused(line: int, why: str) -> ValueError:
    return ValueError(f"Modelfile line {line}: {why}; Ollama refuses it")
