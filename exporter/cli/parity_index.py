"""lawvault parity --index: artifacts against vectors that are already shipped."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from exporter.checkpoint.contents import Checkpoint
from exporter.cli.common import CommonOptions, say
from exporter.cli.console import open_console, styled
from exporter.cli.progress import ProgressLines
from exporter.cli.table import print_whole, short
from exporter.cli.terminal import echo
from exporter.errors import BadInput
from exporter.recipe import Recipe
from exporter.records import canonical_json

Command = TypeVar("Command", bound=Callable[..., Any])
STYLE = {"pass": "green", "fail": "red"}


@dataclass(frozen=True)
class IndexOptions:
    """The options about a table, as given. `index` is None where no table is meant."""

    index: Path | None
    table: str
    id_column: str | None
    vector_column: str
    text_column: str | None
    title_column: str | None
    document_prompt: str | None
    texts: Path | None

    def refuse_without_index(self) -> None:
        """Raise BadInput where an option about a table is given and no table."""
        needs = (self.text_column, self.title_column, self.document_prompt, self.texts)
        if self.index is None and any(needs):
            raise BadInput(
                "--text-column, --title-column, --texts and --document-prompt need --index PATH"
            )


def index_options(command: Command) -> Command:
    """Add --index and what says how to read it, given to the command as separate values."""
    index = click.option(
        "--index",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Vectors that exist already: folder of a LanceDB database, .parquet or .npy.",
    )
    return index(table_options(command))


def table_options(command: Command) -> Command:
    """Add what says how to read a table, given to the command as separate values."""
    decorators = (
        click.option(
            "--table",
            default="laws_vectors",
            show_default=True,
            help="LanceDB's name of the table.",
        ),
        click.option(
            "--id-column",
            metavar="NAME",
            help="Column that names a row. Default: chunk_id, in files _id.",
        ),
        click.option(
            "--vector-column", default="vector", show_default=True, help="Column of the vectors."
        ),
        click.option(
            "--text-column",
            metavar="NAME",
            help="Column of the embedded text, to prove what the table was made with.",
        ),
        click.option("--title-column", metavar="NAME", help="Column of the title."),
        click.option(
            "--document-prompt",
            metavar="TEMPLATE",
            help="Prompt that the table was made with. Default: the checkpoint's.",
        ),
        click.option(
            "--texts",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Of a .npy file: its ids and texts, JSON lines. Default: NAME.jsonl.",
        ),
    )
    wrapped: Any = command
    for decorator in reversed(decorators):
        wrapped = decorator(wrapped)
    return wrapped  # type: ignore[no-any-return]


def run_parity_on_index(
    options: CommonOptions,
    given: IndexOptions,
    *,
    artifacts: tuple[Path, ...],
    questions: Path | None,
    metrics: tuple[str, ...],
    nprobes: int | None,
    refine: int | None,
    recipe: Recipe,
    checkpoint: Checkpoint,
    output: Path,
    cache: Path,
) -> int:
    """Compare, print the verdict, write the reports. Returns the exit code."""
    from exporter.corpus.questions import read_questions
    from exporter.formats.open import artifact_source
    from exporter.report.table import JSON_NAME, MARKDOWN_NAME, write_index_report
    from exporter.runtimes.identity import processor
    from exporter.runtimes.original import open_original
    from exporter.tables.run import Asking, run_index_parity
    from exporter.tables.search import METRICS

    if questions is None:
        raise BadInput("--index needs questions; pass --queries FILE, .txt or .jsonl")
    read = read_questions(questions)
    table = open_given_table(given)
    with ProgressLines(options) as progress:
        report, run = run_index_parity(
            artifacts,
            original=open_original(checkpoint),
            table=table,
            questions=read,
            recipe=recipe,
            artifact_source=artifact_source,
            stages=progress.stage,
            cache=cache,
            machine=processor(),
            asking=Asking(
                metrics=[m for m in METRICS if not metrics or m in metrics],
                document_prompt=given.document_prompt,
                nprobes=nprobes,
                refine_factor=refine,
            ),
        )
    if run.table_version_at_end != run.table_version:
        echo(
            f"warning: the table was written to during the run (version {run.table_version} is now "
            f"{run.table_version_at_end}); every figure is for version {run.table_version}",
            err=True,
        )
    write_index_report(output, report, run)
    if options.as_json:
        click.echo(canonical_json(report), nl=False)
    else:
        print_index_report(report, run)
    say(f"written: {output / JSON_NAME}, {output / MARKDOWN_NAME}", options)
    return int(report.verdict != "pass")


def open_given_table(given: IndexOptions) -> Any:
    """Return the table that the options name, opened. Raises BadInput as `open_vectors` does."""
    from exporter.tables.columns import Columns
    from exporter.tables.open_table import open_vectors, usual_id

    assert given.index is not None
    if given.title_column and not given.text_column:
        raise BadInput("--title-column without --text-column: name the column of the text, too")
    return open_vectors(
        given.index,
        table=given.table,
        texts=given.texts,
        columns=Columns(
            id=given.id_column or usual_id(given.index),
            vector=given.vector_column,
            text=given.text_column,
            title=given.title_column,
        ),
    )


def print_index_report(report: Any, run: Any) -> None:
    """Print one line an artifact and metric on stdout, then the verdict and every reason."""
    from rich.table import Table

    from exporter.report.table_markdown import show_interval
    from exporter.tables.judgement import merged

    console = open_console()
    table = Table(
        title=f"{report.model_name} on {report.table}: {report.rows:,} rows, "
        f"{report.questions:,} questions",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for heading in ("file", "metric", "overlap", "first", "MRR@10 lost or won [95 %]", "verdict"):
        table.add_column(heading, no_wrap=True)
    for metrics, floor in merged(report.noise_floor):
        table.add_row(
            "torch bf16", metrics, f"{floor.overlap_at_10:.3f}", "", "", "the unit", style="dim"
        )
    for artifact in report.artifacts:
        for metrics, search in merged(artifact.searches):
            judged = styled(search.verdict, STYLE.get(search.verdict, "yellow"))
            table.add_row(
                artifact.name,
                metrics,
                f"{search.overlap_at_10.mean:.3f}",
                f"{search.top_1_agreement.mean:.3f}",
                short(search.difference),
                judged if search.judged else "not judged",
            )
    print_whole(console, table)
    console.print(
        "overlap: of the first ten with torch fp32's. first: share of questions with torch bf16's "
        "first document. MRR@10: fp32's first document taken as right; against torch bf16.",
        highlight=False,
        soft_wrap=True,
    )
    for index in run.approximate:
        for s in index.searches:
            console.print(
                f"{index.name} ({index.kind}, {index.distance}), {s.name}: recall@10 "
                f"{show_interval(s.recall_at_10)}, overlap@10 with torch bf16 "
                f"{show_interval(s.overlap_at_10)}",
                highlight=False,
                soft_wrap=True,
            )
    console.print(f"origin of the table: {report.origin.status}", highlight=False)
    console.print(styled(report.verdict, STYLE.get(report.verdict, "yellow")))
    for reason in report.reasons:
        console.print(reason, highlight=False, soft_wrap=True)
