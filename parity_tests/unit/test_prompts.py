"""Prompts: those that are saved hold, another's are only suggested, and titles are not lost."""

import json
import shutil
from pathlib import Path

import pytest

from exporter.checkpoint.contents import Prompts
from exporter.checkpoint.prompts import NEUTRAL, as_option, read_saved_prompts
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.common import parse_prompts
from exporter.cli.main import main
from exporter.errors import BadInput
from exporter.packages.assemble import written_out

CONFIG = "config_sentence_transformers.json"


def saved(folder: Path, **config: object) -> Path:
    (folder / CONFIG).write_text(json.dumps(config), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("template", "title", "rendered"),
    [
        ("title: {title} | text: {text}", "题", "title: 题 | text: 文"),
        ("title: {title} | text: {text}", "", "title: none | text: 文"),
        ("{title} {text}", "题", "题 文"),
        ("{title} {text}", "", "文"),
        ("passage: {title}\n{text}", "", "passage: 文"),
        ("passage: ", "题", "passage: 文"),
    ],
)
def test_a_document_without_a_title_is_rendered_as_the_convention_has_it(
    template: str, title: str, rendered: str
) -> None:
    prompts = Prompts(query="{text}", document=template)
    assert prompts.render_document("文", title=title) == rendered
    held = written_out(prompts)  # what a client fills in
    by_hand = held.document if title else held.document_without_title
    assert by_hand.replace("{title}", title).replace("{text}", "文") == rendered


@pytest.mark.parametrize(
    ("config", "query", "document"),
    [
        ({}, "{text}", "{title} {text}"),
        ({"prompts": {}}, "{text}", "{title} {text}"),
        ({"prompts": {"query": "q: ", "document": "d: "}}, "q: {text}", "d: {title} {text}"),
        ({"prompts": {"passage": "p: "}}, "{text}", "p: {title} {text}"),
        (
            {"prompts": {"any": "a: ", "query": "q: "}, "default_prompt_name": "any"},
            "q: {text}",
            "a: {title} {text}",
        ),
    ],
)
def test_the_saved_prompts_are_those_that_sentence_transformers_applies(
    tmp_path: Path, config: dict[str, object], query: str, document: str
) -> None:
    assert read_saved_prompts(saved(tmp_path, **config)).own == Prompts(
        query=query, document=document
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"prompts": ["q"]}, "prompts is not an object of strings"),
        ({"prompts": {"query": 3}}, "prompts is not an object of strings"),
        ({"prompts": {"query": "q {text}"}}, "the prompt 'query' holds {text}"),
        ({"prompts": {}, "default_prompt_name": "x"}, "default_prompt_name is 'x'"),
        ({"prompts": {"a": "b"}, "default_prompt_name": ["a"]}, "default_prompt_name is ['a']"),
    ],
)
def test_wrong_saved_prompts_are_refused(
    tmp_path: Path, config: dict[str, object], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        read_saved_prompts(saved(tmp_path, **config))
    assert said in str(caught.value)
    assert CONFIG in str(caught.value)


def test_nothing_saved_is_neutral(tmp_path: Path) -> None:
    assert read_saved_prompts(tmp_path).own == NEUTRAL


def test_the_cards_convention_is_only_suggested(tiny_path: Path) -> None:
    checkpoint = read_checkpoint(tiny_path)
    assert checkpoint.prompts.document == "title: none | text: {title} {text}"
    finding = next(f for f in checkpoint.findings if f.id == "prompts")
    assert "'title: {title} | text: {text}'" in finding.remedy


def test_prompts_are_printed_as_the_option_takes_them() -> None:
    prompts = Prompts(query="it's: {text}", document="a, b {title} {text}")
    import shlex

    assert parse_prompts(shlex.split(as_option(prompts))[0]) == prompts


def inspected(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["inspect", "--json", *arguments])
    assert caught.value.code == 0
    captured = capsys.readouterr()
    return json.loads(captured.out)["prompts"]["query"], captured.err


def test_the_terminal_says_which_prompts_hold_where_they_are_not_the_saved_ones(
    tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--checkpoint", str(tiny_path)]
    saved_query = "task: search result | query: {text}"
    assert inspected(named, capsys) == (saved_query, "")
    query, said = inspected([*named, "--recipe", "lawvault"], capsys)
    assert query == "{text}"
    assert "(recipe lawvault); the checkpoint saves query 'task: search result" in said
    query, said = inspected(
        [*named, "--recipe", "lawvault", "--prompts", "query=q: ,document=d: "], capsys
    )
    assert query == "q: "
    assert "prompts: query 'q: ', document 'd: ' (--prompts); the checkpoint saves" in said
    bare = Path(shutil.copytree(tiny_path, tmp_path / "bare"))
    (bare / CONFIG).unlink()
    query, said = inspected(["--checkpoint", str(bare)], capsys)
    assert query == "{text}"
    assert "prompts: none are saved with the checkpoint" in said


def test_the_miniature_is_used_with_its_own_recipe_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    query, said = inspected([], capsys)
    assert query == "{text}"
    assert "using the bundled miniature" in said
    assert "(recipe demo); the checkpoint saves" in said
