"""lawvault index --replace and --rollback: other vectors in a table that exists, and back."""

from pathlib import Path

import click

from exporter.cli.common import CommonOptions, say
from exporter.cli.progress import ProgressLines
from exporter.cli.terminal import echo
from exporter.corpus.beir import read_corpus
from exporter.corpus.questions import read_questions
from exporter.errors import BadInput
from exporter.recipe import read_recipe, recipe_file
from exporter.records import canonical_json
from exporter.report.markdown import show_difference
from exporter.report.write import report_beside
from exporter.tables.columns import Columns
from exporter.tables.replace import replace_vectors, roll_back
from exporter.tables.replacement import Asked
from exporter.vectors.embed import Engine


def read_asked(corpus: Path | None, queries: Path | None) -> Asked:
    """Return what a replacement is judged by. Raises BadInput for neither or both."""
    if (corpus is None) == (queries is None):
        raise BadInput(
            "--replace is judged by questions: pass --corpus FOLDER with right answers, or "
            "--queries FILE"
        )
    if queries is not None:
        given = read_questions(queries)
        return Asked(given.name, given.texts, None)
    assert corpus is not None
    found = read_corpus(corpus)
    answers = [
        {name for name, grade in found.qrels.get(query, {}).items() if grade > 0}
        for query in found.query_ids
    ]
    return Asked(found.name, found.queries, answers)


def print_replacement(
    artifact: Path,
    database: Path,
    table: str,
    columns: Columns,
    *,
    asked: Asked,
    old: Path | None,
    recipe: str,
    cache: Path,
    override_reason: str | None,
    engine: Engine,
    options: CommonOptions,
) -> int:
    """Replace, say what was found and done. Returns the exit code."""
    if override_reason is not None and not override_reason.strip():
        raise BadInput("--override-verdict needs a reason")
    with ProgressLines(options) as progress:
        done = replace_vectors(
            artifact,
            database,
            table=table,
            columns=columns,
            asked=asked,
            old=old,
            recipe=read_recipe(recipe_file(recipe)),
            cache=cache,
            stages=progress.stage,
            report=report_beside(artifact),
            override_reason=override_reason,
            engine=engine,
        )
    if options.as_json:
        click.echo(canonical_json(done), nl=False)
        return int(done.replaced is None)
    m = done.measured
    by = "right answers" if m.judged else "the old vectors' first document"
    echo(
        f"{m.verdict}: MRR@10 {m.new_mrr_at_10:.4f}, of the old vectors {m.old_mrr_at_10:.4f}, "
        f"difference {show_difference(m.difference)}, margin {m.margin:.3g}; overlap@10 "
        f"{m.overlap_at_10.mean:.3f}; {m.questions:,} questions, judged by {by}"
    )
    if m.verdict == "undecided" and m.needed is not None:
        echo(f"about {m.needed:,} questions like these would decide")
    if done.replaced is None:
        echo(f"{database}, table {table}: left as it is", err=True)
        return 1
    caught = f", {done.caught_up:,} documents caught up" if done.caught_up else ""
    echo(
        f"{database}, table {table}: version {done.version} has {done.rows:,} rows of {done.dim} "
        f"components by {done.origin.space.artifact}{caught}; version {done.replaced} is the one "
        "before"
    )
    say(f"next, to undo it: lawvault index --rollback --output {database} --table {table}", options)
    return 0


def print_rollback(database: Path, table: str, columns: Columns, options: CommonOptions) -> int:
    """Undo the last replacement and say so. Returns the exit code."""
    done = roll_back(database, table=table, columns=columns, force=options.force)
    if options.as_json:
        click.echo(canonical_json(done), nl=False)
        return 0
    echo(
        f"{database}, table {table}: version {done.version} is version {done.restored} again, "
        f"{done.rows:,} rows"
    )
    return 0
