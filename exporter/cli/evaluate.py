"""lawvault evaluate: the model card's table."""

from pathlib import Path
from typing import Any

import click

from exporter.cli.checkpoint import load_checkpoint, show_findings
from exporter.cli.common import (
    CORPUS,
    CommonOptions,
    common_options,
    default_output,
    parse_prompts,
    say,
)
from exporter.cli.console import open_console
from exporter.cli.engine import engine_options
from exporter.cli.parity import check_report_folder
from exporter.cli.parity_index import IndexOptions, index_options, open_given_table
from exporter.cli.progress import ProgressLines
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.cli.table import NARROW, print_whole
from exporter.errors import BadInput
from exporter.records import canonical_json


@click.command()
@click.option(
    "--against", metavar="PATH|HUB_ID", help="Another checkpoint, such as the base model."
)
@click.option(
    "--against-prompts",
    metavar="FILE|query=...,document=...",
    help="Prompts of the other. Default: the same as this one's.",
)
@click.option(
    "--corpus",
    type=CORPUS,
    help="Folder in BEIR layout, or a data set of the hub. Default: the recipe's.",
)
@click.option("--queries", type=click.Path(path_type=Path), help="Another queries.jsonl.")
@index_options
@click.option(
    "--metric",
    type=click.Choice(["l2", "cosine"]),
    default="l2",
    show_default=True,
    help="With --index: how its application compares.",
)
@click.option(
    "--details",
    metavar="FILE",
    help="Write every question's ranks, as .csv or .json; - prints them.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder that keeps vectors. Default: vectors/ in the output.",
)
@engine_options
@recipe_option
@common_options(output="Folder for the reports. Default: artifacts/MODEL.", force=None)
def evaluate(
    options: CommonOptions,
    against: str | None,
    against_prompts: str | None,
    corpus: Path | None,
    queries: Path | None,
    metric: Any,
    details: str | None,
    cache: Path | None,
    recipe: str | None,
    engine: Any,
    **index: Any,
) -> None:
    """Print the model card's table: Hit@10, Top-1 and MRR@10 of the checkpoint in torch bf16.

    With --against also the other checkpoint's, the differences with their intervals, and the
    questions whose answer moved most. Writes evaluation.json and evaluation.md. With --index the
    documents' vectors are those of a table of the same corpus.
    """
    from exporter.api import read_checkpoint
    from exporter.corpus.beir import read_corpus
    from exporter.evaluation.run import evaluate as run_evaluation
    from exporter.parity.run import VECTORS_NAME
    from exporter.report.evaluation import (
        JSON_NAME,
        MARKDOWN_NAME,
        check_details,
        write_details,
        write_evaluation,
    )
    from exporter.runtimes.original import open_original
    from exporter.vectors.embed import encode_here

    chosen = choose_recipe(recipe, options)
    if details not in (None, "-"):
        check_details(Path(str(details)))
    read = read_corpus(chosen.corpus(corpus), queries=queries)
    given = IndexOptions(**index)
    given.refuse_without_index()
    if given.index is not None and engine is not encode_here:
        raise BadInput("--index brings the documents' vectors; leave --engine out")
    table = None if given.index is None else open_given_table(given)
    checkpoint = load_checkpoint(options, chosen)
    other = None
    if against is not None:
        prompts = checkpoint.prompts if against_prompts is None else parse_prompts(against_prompts)
        other = read_checkpoint(against, prompts=prompts)
        show_findings(other)
    output = options.output or default_output(checkpoint)
    check_report_folder(output)
    with ProgressLines(options) as progress:
        found = run_evaluation(
            open_original(checkpoint),
            read,
            recipe=chosen.recipe,
            stages=progress.stage,
            table=table,
            cache=cache or output / VECTORS_NAME,
            metric=metric,
            against=open_original(other) if other else None,
            document_prompt=given.document_prompt,
            engine=engine,
        )
    write_evaluation(output, found)
    if details not in (None, "-"):
        write_details(Path(str(details)), found.ranks)
    if options.as_json:
        click.echo(canonical_json(found), nl=False)
    else:
        print_evaluation(found, every=details == "-")
    say(f"written: {output / JSON_NAME}, {output / MARKDOWN_NAME}", options)


def print_evaluation(found: Any, *, every: bool) -> None:
    """Print the card's table on stdout, then the cases, or with `every` all questions."""
    from rich.table import Table

    from exporter.report.evaluation import cases, describe, metric_rows, show_rank

    console = open_console()
    # A narrow terminal must not cut figures: the table may be wider than the window.
    console.width = max(console.width, NARROW)
    rows = metric_rows(found)
    table = Table(
        title=f"{found.model.name} on {found.corpus}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for heading in rows[0]:
        table.add_column(heading, no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row)
    print_whole(console, table)
    console.print(describe(found), highlight=False, markup=False, soft_wrap=True)
    shown = list(found.ranks) if every else (cases(found) if found.base else [])
    if not shown:
        return
    listed = Table(title="every question" if every else "questions whose answer moved most")
    listed.add_column("question", overflow="fold")
    if found.base is not None:
        listed.add_column("base rank", no_wrap=True)
    listed.add_column("rank", no_wrap=True)
    for case in shown:
        base = [show_rank(case.base_rank)] if found.base is not None else []
        listed.add_row(" ".join(case.question.split()), *base, show_rank(case.rank))
    console.print(listed, highlight=False, markup=False)
