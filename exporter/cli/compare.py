"""lawvault compare: one question, what the original and artifacts find, side by side."""

from pathlib import Path
from typing import Any

import click

from exporter.cli.checkpoint import load_checkpoint
from exporter.cli.common import (
    CORPUS,
    CommonOptions,
    common_options,
    default_output,
    language_option,
    say,
)
from exporter.cli.console import open_console
from exporter.cli.parity import check_one_checkpoint, recorded_prompts
from exporter.cli.progress import ProgressLines
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.errors import BadInput
from exporter.recipe import Language
from exporter.records import canonical_json, write_text
from exporter.report.words import words_of

PAGE_NAME = "compare.html"
SHOWN = 100  # characters of an article in the terminal


@click.command()
@click.argument("question")
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--corpus",
    type=CORPUS,
    help="Folder in BEIR layout, or a data set of the hub. Default: the recipe's.",
)
@click.option(
    "--on",
    "index",
    type=click.Choice(["own", "original"]),
    default="own",
    show_default=True,
    help="Whose index of the documents: the artifact's own, or the "
    "original's, as where an index exists already.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1, max=100),
    default=10,
    show_default=True,
    help="Articles to show.",
)
@click.option("--dim", type=click.IntRange(min=1), help="Cut vectors to a Matryoshka dim.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder that keeps vectors. Default: that of 'lawvault parity'.",
)
@recipe_option
@language_option
@common_options(
    output="File of the page. Default: compare.html beside the reports.", force="Replace the file."
)
def compare(
    options: CommonOptions,
    question: str,
    artifacts: tuple[Path, ...],
    corpus: Path | None,
    index: Any,
    top: int,
    dim: int | None,
    cache: Path | None,
    recipe: str | None,
    language: Language,
) -> None:
    """Ask QUESTION, and show what the original and each ARTIFACT find.

    Prints the first articles side by side and writes a page with their texts, by default
    compare.html beside the reports. Every document of the corpus is embedded once and kept, as in
    a parity run.
    """
    from exporter.corpus.beir import read_corpus
    from exporter.formats.open import artifact_source
    from exporter.parity.one_question import ask
    from exporter.parity.run import VECTORS_NAME
    from exporter.report.one_question import render_one_question
    from exporter.runtimes.original import open_original

    if not question.strip():
        raise BadInput("the question is empty; write one")
    chosen = choose_recipe(recipe, options)
    read = read_corpus(chosen.corpus(corpus))
    check_one_checkpoint(artifacts)
    checkpoint = load_checkpoint(options, chosen, recorded=recorded_prompts(artifacts))
    page = options.output or default_output(checkpoint, PAGE_NAME)
    if page.is_dir():
        raise BadInput(f"--output '{page}' is a folder; name a file such as {PAGE_NAME} in it")
    if options.output is not None and page.exists() and not options.force:
        raise BadInput(f"'{page}' exists; name another --output or pass --force")
    with ProgressLines(options) as progress:
        shown = ask(
            question,
            artifacts,
            original=open_original(checkpoint),
            corpus=read,
            index=index,
            artifact_source=artifact_source,
            stages=progress.stage,
            top=top,
            dim=dim,
            cache=cache or default_output(checkpoint) / VECTORS_NAME,
        )
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, render_one_question(shown, words_of(language)))
    if options.as_json:
        click.echo(canonical_json(shown), nl=False)
    else:
        _print(shown)
    say(f"written: {page}", options)


def _end_of(title: str, room: int) -> str:
    """Return the title, or its end: laws of one country begin alike."""
    from rich.cells import cell_len

    if cell_len(title) <= room:
        return title
    while title and cell_len(title) > room - 1:
        title = title[1:]
    return "…" + title


def _print(shown: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from exporter.report.one_question import INDEX_WORDS, moved, summary

    console = open_console()
    original, *others = shown.answers
    console.print(shown.question, style="bold", markup=False, highlight=False)
    console.print(
        f"{shown.corpus}, {shown.documents:,} articles; {INDEX_WORDS[shown.index]}", highlight=False
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=False)
    each = (console.width - 2 * (len(shown.answers) - 1)) // len(shown.answers)
    for answers in shown.answers:
        table.add_column(answers.name, no_wrap=True)
    for rank in range(len(original.found)):
        cells = []
        for answers in shown.answers:
            article = answers.found[rank]
            title = shown.articles[article.id].title or article.id
            change = f"{moved(article)} " if moved(article) else ""
            score = f"{article.score:.3f} "
            room = each - len(f"{rank + 1:>2} {score}{change}")
            cells.append(
                Text.assemble(
                    f"{rank + 1:>2} ", (score, "dim"), (change, "yellow"), _end_of(title, room)
                )
            )
        table.add_row(*cells)
    console.print(table)
    for answers in others:
        console.print(summary(answers, original), markup=False, highlight=False)
    for key, article in shown.articles.items():
        text = " ".join(article.text.split())
        cut = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
        console.print(
            Text.assemble(
                (article.title or key, "bold"), f" ({key}) " if article.title else " ", cut
            ),
            soft_wrap=True,
        )
