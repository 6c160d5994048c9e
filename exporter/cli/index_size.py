"""lawvault index-size: how small an index of one's own documents may be."""

from pathlib import Path

import click

from exporter.cli.common import CORPUS, CommonOptions, say
from exporter.cli.progress import ProgressLines
from exporter.cli.terminal import echo
from exporter.errors import BadInput
from exporter.records import canonical_json


@click.command("index-size")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--corpus",
    type=CORPUS,
    metavar="FOLDER",
    help="Documents, questions and answers in BEIR layout.",
)
@click.option(
    "--index",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Vectors that exist already: folder of a LanceDB database, .parquet or .npy.",
)
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Questions to --index, .txt or .jsonl.",
)
@click.option(
    "--table", default="laws_vectors", show_default=True, help="LanceDB's name of the table."
)
@click.option(
    "--id-column", metavar="NAME", help="Column that names a row. Default: chunk_id, in files _id."
)
@click.option("--vector-column", default="vector", show_default=True, help="Column of the vectors.")
@click.option(
    "--texts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Of a .npy file: its ids and texts, JSON lines. Default: NAME.jsonl.",
)
@click.option("--dims", metavar="N,N", help="Matryoshka dims to try. Default: all.")
@click.option("--recipe", metavar="NAME|FILE", default="default", help="Whose margin holds.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("index-size"),
    show_default=True,
    metavar="FOLDER",
    help="Where the report goes.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder that keeps vectors. Default: OUTPUT.vectors.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def index_size(
    *,
    artifact: Path,
    corpus: Path | None,
    index: Path | None,
    queries: Path | None,
    table: str,
    id_column: str | None,
    vector_column: str,
    texts: Path | None,
    dims: str | None,
    recipe: str,
    output: Path,
    cache: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Say how small an index of ARTIFACT's vectors may be, for a corpus or a table that exists.

    Every Matryoshka dim in float32, float16, int8 and bits, with and without rescoring, and
    LanceDB's IVF-PQ, IVF-SQ and HNSW: bytes a document, what retrieval loses, milliseconds, and a
    verdict. Writes index-size.md, .json, .svg. Exit code 1: no smaller way passes.
    """
    from exporter.corpus.beir import read_corpus
    from exporter.corpus.questions import read_questions
    from exporter.recipe import read_recipe, recipe_file
    from exporter.report.index_size import MARKDOWN_NAME, sentence, write_index_size
    from exporter.runtimes.identity import processor
    from exporter.tables.columns import Columns
    from exporter.tables.connection import check_installed
    from exporter.tables.index_size_run import of_corpus, of_table, run_index_size
    from exporter.tables.open_table import open_vectors, usual_id

    if (corpus is None) == (index is None):
        raise BadInput("pass --corpus FOLDER, or --index PATH with --queries FILE")
    if (index is None) != (queries is None):
        raise BadInput("--index and --queries go together: a table, and what it is asked")
    if output.exists() and not output.is_dir():
        raise BadInput(f"--output '{output}' is a file; name a folder")
    check_installed()
    options = CommonOptions(
        checkpoint=None,
        base=None,
        window=None,
        prompts=None,
        output=output,
        force=False,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
    )
    chosen = read_recipe(recipe_file(recipe))
    kept = cache or output.with_name(output.name + ".vectors")
    with ProgressLines(options) as progress:
        if corpus is not None:
            read = read_corpus(corpus)
            name = corpus.resolve().name
            given = of_corpus(artifact, read, name=name, cache=kept, stages=progress.stage)
        else:
            assert index is not None
            assert queries is not None
            columns = Columns(id=id_column or usual_id(index), vector=vector_column)
            opened = open_vectors(index, table=table, columns=columns, texts=texts)
            asked = read_questions(queries)
            given = of_table(artifact, opened, asked, cache=kept, stages=progress.stage)
        report, run = run_index_size(
            artifact,
            given,
            dims=None if dims is None else _numbers(dims),
            recipe=chosen,
            machine=processor(),
            stages=progress.stage,
            work=output.absolute().parent,
        )
    write_index_size(output, report, run)
    if as_json:
        click.echo(canonical_json(report), nl=False)
    else:
        echo(sentence(report))
    say(f"written: {output / MARKDOWN_NAME}", options)
    return int(report.smallest is None)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--dims '{text:.60}' is no list of numbers; write 256,128") from None
