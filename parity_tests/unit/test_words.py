"""The catalogue of reports: complete, nothing stale, every value kept."""

import ast
import re
from collections.abc import Iterator

import jinja2
import polib
import pytest
from jinja2 import nodes

from exporter.format import all_formats
from exporter.report import advice, html, markdown, one_question, plots, pool_words, uses
from exporter.report.words import (
    CATALOGUES,
    ENGLISH,
    LANGUAGES,
    LOCALE_VARIABLES,
    terminal_language,
    words_of,
)
from parity_tests.conftest import REPOSITORY

REPORT = REPOSITORY / "exporter" / "report"
VALUE = re.compile(r"%\((\w+)\)s")


def in_code() -> Iterator[str]:
    for path in REPORT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            named = ast.unparse(node.func)
            count = {"_": 1, "words": 1, "_.plural": 2}.get(named, 0)
            for argument in node.args[:count]:
                if isinstance(argument, ast.Constant):
                    yield argument.value


def in_templates() -> Iterator[str]:
    environment = jinja2.Environment(extensions=["jinja2.ext.i18n"])
    for path in (REPORT / "templates").glob("*.html.j2"):
        tree = environment.parse(path.read_text(encoding="utf-8"))
        for call in tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == "_":
                for argument in call.args[:1]:
                    if isinstance(argument, nodes.Const):
                        yield argument.value


def in_tables() -> Iterator[str]:
    yield from uses.GOOD_FOR.values()
    yield from advice.REASONS.values()
    yield from advice.NOT_USABLE.values()
    yield advice.UNPROVEN
    yield from pool_words.WAY_NAMES.values()
    yield from html.SIDES.values()
    yield from html.VERDICT_SIGNS
    yield from one_question.INDEX_WORDS.values()
    yield from plots.PART_STYLES
    yield from plots.LENGTHS.values()
    yield from (markdown.LEGEND, *pool_words.MISSED)
    for found in all_formats():
        for flavour in ("", "web"):
            use = found.use({"flavour": flavour})
            yield from (use.where, use.runs_in)


def messages() -> set[str]:
    return {*in_code(), *in_templates(), *in_tables()}


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_the_catalogue_is_complete_and_holds_nothing_else(language: str) -> None:
    entries = polib.pofile(str(CATALOGUES / f"{language}.po"))
    translated = {entry.msgid for entry in entries if entry.msgstr}
    assert messages() - translated == set(), "not translated"
    assert {entry.msgid for entry in entries} - messages() == set(), "no longer said"
    assert len(entries) == len(translated)


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_a_translation_keeps_every_value_and_no_other(language: str) -> None:
    for entry in polib.pofile(str(CATALOGUES / f"{language}.po")):
        assert set(VALUE.findall(entry.msgstr)) == set(VALUE.findall(entry.msgid)), entry.msgid
        filled = VALUE.sub("", entry.msgstr).replace("%%", "")
        assert "%" not in filled or not VALUE.search(entry.msgid), entry.msgstr


def test_a_list_and_a_count_read_as_their_language_says() -> None:
    chinese = words_of("zh")
    assert ENGLISH.listed(["a", "b", "c"]) == "a, b and c"
    assert chinese.listed(["a", "b", "c"]) == "a、b 和 c"
    one, many = "%(count)s text", "%(count)s texts"
    assert [ENGLISH.plural(one, many, n) for n in (1, 2000)] == ["1 text", "2,000 texts"]
    assert chinese.plural(one, many, 1) == chinese.plural(one, many, 2).replace("2", "1")


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LC_MESSAGES": "zh_TW", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_terminal_says_its_language(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], language: str
) -> None:
    for name in LOCALE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert terminal_language() == language
