"""lawvault parity: compare artifacts with the original, and judge them."""

from pathlib import Path
from typing import Any

import click

from exporter.checkpoint.contents import Prompts
from exporter.cli.checkpoint import load_checkpoint
from exporter.cli.common import (
    CORPUS,
    CommonOptions,
    common_options,
    default_output,
    language_option,
    pool_option,
    say,
)
from exporter.cli.parity_index import IndexOptions, index_options, run_parity_on_index
from exporter.cli.progress import ProgressLines
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.errors import BadInput
from exporter.manifest import checkpoint_difference, read_manifest
from exporter.recipe import Language
from exporter.records import canonical_json
from exporter.report.words import words_of


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--corpus",
    type=CORPUS,
    help="Folder in BEIR layout, or a data set of the hub. Default: the recipe's.",
)
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    help="Another queries.jsonl; with --index also .txt, one a line.",
)
@click.option("--dims", metavar="N,N", help="Dims to judge. Default: all that were trained.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder that keeps vectors. Default: vectors/ in the output.",
)
@pool_option
@index_options
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(["l2", "cosine"]),
    help="With --index: how the application compares. Default: both.",
)
@click.option(
    "--nprobes",
    type=click.IntRange(min=1),
    help="For the table's approximate index, if any. Default: LanceDB's.",
)
@click.option(
    "--refine-factor",
    type=click.IntRange(min=1),
    help="For the table's approximate index, if any. Default: none.",
)
@recipe_option
@language_option
@common_options(output="Folder for the reports. Default: artifacts/MODEL.", force=None)
def parity(
    options: CommonOptions,
    artifacts: tuple[Path, ...],
    corpus: Path | None,
    queries: Path | None,
    dims: str | None,
    cache: Path | None,
    pool: int | None,
    recipe: str | None,
    language: Language,
    metrics: tuple[str, ...],
    nprobes: int | None,
    refine_factor: int | None,
    **index: Any,
) -> int:
    """Compare ARTIFACT... with the torch reference on a retrieval corpus.

    Prints the verdicts and writes parity.json, parity.md and parity.html. Exit code 1 unless all
    passed. Vectors are kept: a second run embeds nothing again, a stopped one resumes.
    A corpus that would take long is judged by a pool of it; intervals are wider by what that may
    miss.

    With --index the corpus is a table of vectors that exists already (LanceDB, .parquet or .npy),
    and nobody needs to know the right answers: do ARTIFACT's questions find in it what the
    original's find? Writes parity-index.json and parity-index.md.
    """
    from exporter import api
    from exporter.cli.table import print_verdicts
    from exporter.corpus.beir import read_corpus
    from exporter.parity.run import VECTORS_NAME

    chosen = choose_recipe(recipe, options)
    wanted = _dims(dims)
    given = IndexOptions(**index)
    if given.index is not None:
        if corpus is not None or wanted is not None or pool is not None:
            raise BadInput(
                "--index brings its own documents and width; leave out --corpus, --dims and --pool"
            )
        checkpoint = load_checkpoint(options, chosen, recorded=recorded_prompts(artifacts))
        output = options.output or default_output(checkpoint)
        check_report_folder(output)
        return run_parity_on_index(
            options,
            given,
            artifacts=artifacts,
            questions=queries,
            metrics=metrics,
            nprobes=nprobes,
            refine=refine_factor,
            recipe=chosen.recipe,
            checkpoint=checkpoint,
            output=output,
            cache=cache or output / VECTORS_NAME,
        )
    given.refuse_without_index()
    if metrics or nprobes or refine_factor:
        raise BadInput("--metric, --nprobes and --refine-factor need --index PATH")
    read = read_corpus(chosen.corpus(corpus), queries=queries)
    check_one_checkpoint(artifacts)
    checkpoint = load_checkpoint(options, chosen, recorded=recorded_prompts(artifacts))
    output = options.output or default_output(checkpoint)
    check_report_folder(output)
    with ProgressLines(options) as progress:
        report = api.judge(
            artifacts,
            checkpoint,
            corpus=read,
            recipe=chosen.with_pool(pool),
            output=output,
            dims=wanted,
            cache=cache,
            stages=progress.stage,
            tell=lambda line: say(line, options),
            language=language,
        )
    if options.as_json:
        click.echo(canonical_json(report), nl=False)
    else:
        print_verdicts(report, words_of(language))
    say(f"written: {output / 'parity.html'}, parity.md and parity.json beside it", options)
    return int(report.verdict != "pass")


def check_report_folder(output: Path) -> None:
    """Raise BadInput where reports cannot go, before any long step."""
    if output.exists() and not output.is_dir():
        raise BadInput(f"--output '{output}' is a file; name a folder")


def check_one_checkpoint(artifacts: tuple[Path, ...]) -> None:
    """Refuse artifacts of different checkpoints: one report has one reference."""
    first = {f.path: f.sha256 for f in read_manifest(artifacts[0]).checkpoint_files}
    for folder in artifacts[1:]:
        other = {f.path: f.sha256 for f in read_manifest(folder).checkpoint_files}
        different = checkpoint_difference(first, other)
        if different is not None:
            raise BadInput(
                f"'{folder}' and '{artifacts[0]}' were made from different checkpoints "
                f"({different} differs); judge them in two runs, each with its --checkpoint"
            )


def recorded_prompts(artifacts: tuple[Path, ...]) -> Prompts:
    """Return the prompts the artifacts were exported for. Raises BadInput where they differ."""
    first = read_manifest(artifacts[0]).prompts
    for folder in artifacts[1:]:
        if read_manifest(folder).prompts != first:
            raise BadInput(
                f"'{folder}' and '{artifacts[0]}' were exported for different prompts; "
                "compare them in two runs"
            )
    return first


def _dims(value: str | None) -> list[int] | None:
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise BadInput(f"--dims '{value:.60}' is not a list of whole numbers like 256,128")
    return [int(part) for part in parts]
