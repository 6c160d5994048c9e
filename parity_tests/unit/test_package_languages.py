"""READMEs of packages in two languages: the same values, the same code."""

import re
from pathlib import Path

import pytest

from exporter.recipe import bundled_recipe, read_recipe
from parity_tests.conftest import REPOSITORY

PACKAGES = REPOSITORY / "exporter" / "packages"
CHINESE = sorted(PACKAGES.glob("*/templates/readme.zh.md.j2"))
VALUE, HAN = re.compile(r"\{\{.*?\}\}", re.DOTALL), re.compile(r"[\u4e00-\u9fff]")


def code(text: str) -> list[str]:
    """Return the lines of code, without comments and white space."""
    lines = re.findall(r"^    (.*)$", text, re.MULTILINE)
    for block in re.findall(r"```js\n(.*?)```", text, re.DOTALL):
        lines += block.splitlines()
    return [re.split(r"\s{2,}(?:#|//)", line)[0].rstrip() for line in lines]


def values(text: str) -> list[str]:
    # What says nothing but punctuation or a word of the language is not compared.
    return sorted(v for v in VALUE.findall(text) if '" `"' not in v and '"`"' not in v)


def test_every_consumer_has_a_chinese_readme() -> None:
    english = sorted(PACKAGES.glob("*/templates/readme.md.j2"))
    assert [path.parent for path in english] == [path.parent for path in CHINESE]
    assert len(CHINESE) == 6


@pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.parents[1].name)
def test_a_chinese_readme_has_the_code_and_the_values_of_the_english(path: Path) -> None:
    chinese = path.read_text(encoding="utf-8")
    english = path.with_name("readme.md.j2").read_text(encoding="utf-8")
    assert HAN.search(re.sub("房东不退押金怎么办", "", chinese))
    assert code(chinese) == code(english)
    assert set(values(chinese)) == set(values(english))


def test_lawvaults_packages_are_chinese_and_the_demos_english() -> None:
    said = {name: read_recipe(bundled_recipe(name)).language for name in ("lawvault", "demo")}
    assert said == {"lawvault": "zh", "demo": "en"}
    assert read_recipe(bundled_recipe("default")).language == "en"
