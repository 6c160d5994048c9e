"""lawvault release: inspect, export, judge and package by a recipe."""

from pathlib import Path

import click

from exporter.cli.checkpoint import load_checkpoint
from exporter.cli.common import (
    CommonOptions,
    common_options,
    default_output,
    pool_option,
    say,
)
from exporter.cli.progress import ProgressLines
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.records import canonical_json


@click.command()
@click.option("--corpus", type=click.Path(path_type=Path),
              help="Folder in BEIR layout. Default: the recipe's.")  # fmt: skip
@click.option("--bench", is_flag=True, help="Time the artifacts for the overview page.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N",
              help="Exports at once. Default: as many as cores and memory allow.")  # fmt: skip
@pool_option
@recipe_option
@common_options
def release(
    options: CommonOptions,
    *,
    corpus: Path | None,
    recipe: str | None,
    bench: bool,
    jobs: int | None,
    pool: int | None,
) -> int:
    """Export every artifact of a recipe, judge them, and package what passed.

    Ends with index.html, one page that says which file is for which use. Steps whose inputs have
    not changed are not repeated. Exit code 1 unless every required artifact passed; the closed
    limit is named.
    """
    from exporter.cli.table import print_verdicts
    from exporter.corpus.beir import read_corpus
    from exporter.release import check_recipe, run_release
    from exporter.release_exports import release_calibration

    chosen = choose_recipe(recipe, options)
    taken = chosen.with_pool(pool)
    check_recipe(taken)
    folder = chosen.corpus(corpus)
    read = read_corpus(folder)
    calibration = release_calibration(taken, chosen.path, folder=folder, corpus=read)
    checkpoint = load_checkpoint(options, chosen)
    output = options.output or default_output(checkpoint)
    with ProgressLines(options) as progress:
        outcome = run_release(
            checkpoint, recipe=taken, corpus=read, output=output, force=options.force,
            stages=progress.stage, tell=lambda line: say(line, options),
            bench=bench, jobs=jobs, calibration=calibration,
        )  # fmt: skip
    if options.as_json:
        click.echo(canonical_json(outcome), nl=False)
    else:
        print_verdicts(outcome.report)
        for package in outcome.packages:
            click.echo(f"package: {package}")
        for line in outcome.closed:
            click.echo(f"gate closed: {line}", err=True)
        say(f"overview: {outcome.overview}", options)
    return int(bool(outcome.closed))
