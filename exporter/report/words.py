"""What reports say, in English or in Chinese.

Messages are English sentences in the code and the templates, marked `_("...")` as gettext's are;
catalogue/zh.po translates them. A test holds it complete.
"""

import locale
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import get_args

from exporter.recipe import Language

LANGUAGES: tuple[Language, ...] = get_args(Language)
LOCALE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set decides
CATALOGUES = Path(__file__).parent / "catalogue"


@dataclass(frozen=True)
class Words:
    """The messages of one language. Call it with a message and the values of its `%(name)s`;
    `%%` is a percent sign, as in templates."""

    language: Language = "en"
    translated: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, message: str, **values: object) -> str:
        return self.message(message) % values

    def message(self, message: str) -> str:
        """Return a message in this language, its values still to be filled in."""
        return self.translated.get(message, message)

    def plural(self, one: str, many: str, count: int, **values: object) -> str:
        """Return the message for so many, `count` among its values. Chinese has one form."""
        return self.message(one if count == 1 and self.language == "en" else many) % {
            "count": f"{count:,}",
            **values,
        }

    def listed(self, names: Sequence[str]) -> str:
        """Return `a`, `a and b`, `a, b and c`."""
        if len(names) == 1:
            return names[0]
        comma, last = (", ", " and ") if self.language == "en" else ("、", " 和 ")
        return comma.join(names[:-1]) + last + names[-1]


ENGLISH = Words()


def terminal_language() -> Language:
    """Return the language of this terminal: Chinese where its locale is, else English."""
    named = next(filter(None, map(os.environ.get, LOCALE_VARIABLES)), None)
    return "zh" if (named or locale.getlocale()[0] or "").startswith(("zh", "Chinese")) else "en"


@cache
def words_of(language: Language) -> Words:
    """Return the messages of a language."""
    if language == "en":
        return ENGLISH
    import polib  # type: ignore[import-untyped]

    entries = polib.pofile(str(CATALOGUES / f"{language}.po"))
    return Words(language, {entry.msgid: entry.msgstr for entry in entries if entry.msgstr})
