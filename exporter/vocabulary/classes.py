"""Kinds of pieces that are kept whether a text was counted with them or not."""

import unicodedata
from collections.abc import Callable, Mapping

SPACE = "\u2581"
"""How SentencePiece writes a space."""
HAN = ((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
"""Blocks of ideographs."""
HAN_MARKS = "々〇"
WIDE_SPACE = "\u3000"
WIDE_MARKS = ((0x2010, 0x2027), (0x3000, 0x303F), (0xFF00, 0xFFEF))
"""Blocks of the punctuation that stands in Chinese text."""
FIRST_FOREIGN, LAST_FOREIGN = 0x300, 0x2000
"""Digits of scripts in between, from Arabic to Tibetan, are not kept."""


def _within(character: str, blocks: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= ord(character) <= last for first, last in blocks)


def _is_han(character: str) -> bool:
    return _within(character, HAN) or character in HAN_MARKS


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS" or character == WIDE_SPACE


def _is_digit(character: str) -> bool:
    foreign = FIRST_FOREIGN <= ord(character) < LAST_FOREIGN
    return unicodedata.category(character)[0] == "N" and not foreign


def _cjk(piece: str) -> bool:
    return any(map(_is_han, piece)) and all(
        _is_han(c) or _is_mark(c) or _is_digit(c) for c in piece
    )


def _ascii(piece: str) -> bool:
    return len(piece) == 1 and piece.isascii()


def _digits(piece: str) -> bool:
    return all(map(_is_digit, piece))


def _punctuation(piece: str) -> bool:
    return all(map(_is_mark, piece)) and (
        len(piece) == 1 or all(_within(c, WIDE_MARKS) for c in piece)
    )


CLASSES: Mapping[str, Callable[[str], bool]] = {
    "cjk": _cjk,
    "ascii": _ascii,
    "digits": _digits,
    "punctuation": _punctuation,
}
"""Name -> whether a piece, spaces aside, belongs to it. cjk: ideographs, with marks and digits
between them; ascii: single characters, by which any word can be spelled; punctuation: single marks
and symbols, and runs of the wide ones."""


def in_class(name: str, piece: str) -> bool:
    """Return whether a piece belongs to one of `CLASSES`."""
    bare = piece.replace(SPACE, "")
    return bool(bare) and CLASSES[name](bare)
