"""README and docs: as short as promised, without dead links, in both languages."""

import re
from pathlib import Path

import pytest
import yaml

from exporter.cli.main import main
from parity_tests.conftest import REPOSITORY

PAGES = sorted(
    p
    for p in (*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"))
    if p.name != "CHANGELOG.md"
)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"^    (?:\.venv/bin/)?lawvault ([^\n\\#]+)", re.MULTILINE)


def test_the_readmes_fit_on_a_screen() -> None:
    for name in ("README.md", "README.zh.md", "ARCHITECTURE.md"):
        lines = (REPOSITORY / name).read_text("utf-8").splitlines()
        assert len(lines) <= 120, f"{name} has {len(lines)} lines"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_no_link_is_dead(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_page_stands_in_the_site() -> None:
    listed = yaml.safe_dump(yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text("utf-8"))["nav"])
    for page in (REPOSITORY / "docs").rglob("*.md"):
        assert page.relative_to(REPOSITORY / "docs").as_posix() in listed, page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_commands_in_pages_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in COMMAND.findall(page.read_text("utf-8")):
        words = line.split()
        depth = 2 if words[0] in ("export", "package") and words[1:] else 1
        with pytest.raises(SystemExit) as stopped:
            main([*words[:depth], "--help"])
        shown = capsys.readouterr().out
        assert stopped.value.code in (0, None), line
        for option in (word for word in words if word.startswith("--")):
            assert option in shown, f"{option} in: lawvault {line}"
