"""Markdown that holds names and texts of others: no HTML in it is live, no link in it runs."""

import html
import re
from urllib.parse import urlsplit

SCHEMES = ("", "http", "https", "mailto")
TAG = re.compile(r"<(?=[A-Za-z/!?])")
LINK = re.compile(r"(\]\(\s*|^ {0,3}\[[^\]]*\]:\s*)([^\s)]*)", re.MULTILINE)
CODE = re.compile(r"(?<![`\\])(`+)(?!`)([^\n|]*?[^\n|`])\1(?!`)")
"""A span on one line, within one cell of a table: whatever might not be code counts as text."""


def harmless(markdown: str) -> str:
    """Return Markdown whose tags are text and whose links of other schemes than http, https and
    mailto lead nowhere. Code spans stay to the letter."""
    parts, at = [], 0
    for code in CODE.finditer(markdown):
        parts += [_plain(markdown[at : code.start()]), code.group()]
        at = code.end()
    return "".join([*parts, _plain(markdown[at:])])


def _plain(text: str) -> str:
    return LINK.sub(_checked, TAG.sub("&lt;", text))


def _checked(found: re.Match[str]) -> str:
    target = re.sub(r"[\x00-\x20]", "", html.unescape(found.group(2)))
    try:
        scheme = urlsplit(target).scheme.lower()
    except ValueError:
        scheme = "?"
    return found.group() if scheme in SCHEMES else found.group(1) + "#"
