"""lawvault index: a new LanceDB table, made with an artifact."""

from pathlib import Path
from typing import Any

import click

from exporter.cli.common import CORPUS, CommonOptions
from exporter.cli.engine import engine_options
from exporter.cli.progress import ProgressLines
from exporter.cli.terminal import echo
from exporter.errors import BadInput
from exporter.records import canonical_json


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path), required=False)
@click.option(
    "--corpus",
    type=CORPUS,
    metavar="FOLDER",
    help="Folder with a corpus.jsonl in BEIR layout, or such a data set of the hub, as "
    "BeIR/scifact. With --replace: whose questions and right "
    "answers judge.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Folder of the LanceDB database, new or not.",
)
@click.option("--table", default="laws_vectors", show_default=True, help="Name of the table.")
@click.option("--id-column", default="chunk_id", show_default=True, help="Column of the ids.")
@click.option("--vector-column", default="vector", show_default=True, help="Column of the vectors.")
@click.option("--dim", type=click.IntRange(min=1), help="A Matryoshka dim. Default: all of it.")
@click.option("--ivf-pq", is_flag=True, help="Add an approximate index with LanceDB's defaults.")
@click.option(
    "--replace",
    is_flag=True,
    help="Replace the vectors of a table that exists, of whatever make, by ARTIFACT's, if they "
    "find as much; texts and all other columns stay.",
)
@click.option(
    "--rollback",
    is_flag=True,
    help="Make the vectors from before the last --replace current again.",
)
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --replace: questions without answers; the old vectors' first document is right.",
)
@click.option(
    "--old",
    type=click.Path(path_type=Path),
    metavar="ARTIFACT",
    help="With --replace: whose questions the table is asked today. Default: ARTIFACT, where the "
    "table lies in its space.",
)
@click.option("--text-column", help="With --replace: column of the texts.")
@click.option("--title-column", help="With --replace: column of the titles.")
@click.option("--recipe", default="default", show_default=True, help="With --replace: the limits.")
@click.option(
    "--override-verdict",
    "override_reason",
    metavar="REASON",
    help="With --replace: replace without a pass.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder that keeps vectors. Default: OUTPUT.vectors.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Replace a table of that name. With --rollback: give up documents that changed since.",
)
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def index(
    *,
    artifact: Path | None,
    corpus: Path | None,
    output: Path,
    table: str,
    id_column: str,
    vector_column: str,
    dim: int | None,
    ivf_pq: bool,
    replace: bool,
    rollback: bool,
    queries: Path | None,
    old: Path | None,
    text_column: str | None,
    title_column: str | None,
    recipe: str,
    override_reason: str | None,
    cache: Path | None,
    force: bool,
    engine: Any,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Build a LanceDB table of a corpus with ARTIFACT's vectors, or bring one up to date.

    Holds ids, titles, texts and vectors, and in its metadata what made them, by which 'lawvault
    parity --index' knows it. Vectors are kept: a run that was stopped resumes, and a
    corpus with new documents costs only these.
    """
    from exporter.corpus.beir import read_documents
    from exporter.report.write import report_beside
    from exporter.tables.build import build_index
    from exporter.tables.columns import Columns

    options = CommonOptions(
        checkpoint=None,
        base=None,
        window=None,
        prompts=None,
        output=output,
        force=force,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
    )
    if replace or rollback:
        from exporter.cli.index_replace import print_replacement, print_rollback, read_asked

        columns = Columns(id=id_column, vector=vector_column, text=text_column, title=title_column)
        if rollback:
            if replace or artifact is not None:
                raise BadInput("--rollback takes neither ARTIFACT nor --replace")
            return print_rollback(output, table, columns, options)
        if artifact is None:
            raise BadInput("--replace needs ARTIFACT, whose vectors the table is to hold")
        if dim is not None or ivf_pq or force:
            raise BadInput("--replace takes no --dim, --ivf-pq and --force: leave them out")
        return print_replacement(
            artifact,
            output,
            table,
            columns,
            asked=read_asked(corpus, queries),
            old=old,
            recipe=recipe,
            cache=cache or output.with_name(output.name + ".vectors"),
            override_reason=override_reason,
            engine=engine,
            options=options,
        )
    only = {"--queries": queries, "--old": old, "--text-column": text_column}
    only |= {"--title-column": title_column, "--override-verdict": override_reason}
    for name, value in only.items():
        if value is not None:
            raise BadInput(f"{name} goes with --replace")
    if artifact is None or corpus is None:
        raise BadInput("a new table needs ARTIFACT and --corpus FOLDER")
    names = [id_column, vector_column, "title", "text"]
    if len(set(names)) < len(names) or "" in names:
        raise BadInput("--id-column and --vector-column must be two names besides title and text")
    if not table.replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise BadInput(f"--table '{table}' is no name; use letters, digits, '_', '-' and '.'")
    columns = Columns(id=id_column, vector=vector_column, text="text", title="title")
    documents = read_documents(corpus)
    with ProgressLines(options) as progress:
        outcome = build_index(
            artifact,
            documents,
            corpus=corpus.resolve().name,
            output=output,
            table=table,
            columns=columns,
            cache=cache or output.with_name(output.name + ".vectors"),
            stages=progress.stage,
            report=report_beside(artifact),
            dim=dim,
            ivf_pq=ivf_pq,
            force=force,
            engine=engine,
        )
    if as_json:
        click.echo(canonical_json(outcome), nl=False)
        return 0
    approximate = ", with an approximate index" if outcome.approximate else ""
    echo(
        f"{output}, table {table}: {outcome.rows:,} rows of {outcome.dim} components by "
        f"{outcome.origin.space.artifact}{approximate}; {outcome.added:,} added, "
        f"{outcome.kept:,} kept"
    )
    return 0
