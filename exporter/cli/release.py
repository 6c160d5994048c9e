"""lawvault release: export, judge and package by a recipe."""

from pathlib import Path

import click

from exporter.bundled import miniature
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
from exporter.cli.progress import ProgressLines
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.cli.terminal import echo
from exporter.recipe import Language
from exporter.records import canonical_json
from exporter.report.words import words_of


@click.command()
@click.option(
    "--corpus",
    type=CORPUS,
    help="Folder in BEIR layout, or a data set of the hub. Default: the recipe's.",
)
@click.option("--bench", is_flag=True, help="Time the artifacts for the overview page.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Exports at once. Default: as many as cores and memory allow.",
)
@click.option(
    "--quick",
    is_flag=True,
    help="A first look: two 8-bit files, judged on a hundred questions, nothing packaged.",
)
@pool_option
@recipe_option
@language_option
@common_options()
def release(
    options: CommonOptions,
    *,
    corpus: Path | None,
    recipe: str | None,
    bench: bool,
    jobs: int | None,
    quick: bool,
    pool: int | None,
    language: Language,
) -> int:
    """Export every artifact of a recipe, judge them, and package what passed.

    Ends with index.html, one page that says which file is for which use. Steps whose inputs have
    not changed are not repeated. What it will take is said first. Exit code 1 unless every required
    artifact passed; the closed limit is named. --quick proves nothing: its exit code is 1 only
    where a file failed.
    """
    return run(
        options,
        language=language,
        corpus=corpus,
        recipe=recipe,
        bench=bench,
        jobs=jobs,
        quick=quick,
        pool=pool,
    )


def run(
    options: CommonOptions,
    *,
    language: Language,
    corpus: Path | None = None,
    recipe: str | None = None,
    bench: bool = False,
    jobs: int | None = None,
    quick: bool = False,
    pool: int | None = None,
) -> int:
    """Carry out a release and print what it came to. Returns the exit code."""
    from exporter.cli.table import print_verdicts
    from exporter.corpus.beir import read_corpus
    from exporter.release.estimate import estimate, float32_operations_per_second, in_words
    from exporter.release.exports import release_calibration
    from exporter.release.quick import quick_corpus, quick_recipe
    from exporter.release.run import check_recipe, run_release
    from exporter.runtimes.original import CheckpointTokens

    chosen = choose_recipe(recipe, options)
    taken = chosen.with_pool(pool)
    check_recipe(taken)
    folder = chosen.corpus(corpus)
    read = read_corpus(folder)
    calibration = release_calibration(taken, chosen.path, folder=folder, corpus=read)
    checkpoint = load_checkpoint(options, chosen)
    output = options.output or default_output(checkpoint, *(["quick"] if quick else []))
    if quick:
        taken, read = quick_recipe(taken), quick_corpus(read, seed=taken.seed)
    if chosen.is_invented(corpus) and checkpoint.path.resolve() != miniature().resolve():
        say("corpus: none given, judging on invented Chinese articles (pass --corpus)", options)
    expected = estimate(
        checkpoint,
        taken,
        read,
        tokens=CheckpointTokens(checkpoint),
        operations_per_second=float32_operations_per_second,
    )
    line = in_words(expected, [spec.name for spec in taken.artifacts], read)
    say(line if quick else f"{line}; --quick for a first look", options)
    with ProgressLines(options) as progress:
        outcome = run_release(
            checkpoint,
            recipe=taken,
            corpus=read,
            output=output,
            force=options.force,
            stages=progress.stage,
            tell=lambda line: say(line, options),
            bench=bench,
            jobs=jobs,
            calibration=calibration,
            language=language,
        )
    if options.as_json:
        click.echo(canonical_json(outcome), nl=False)
    else:
        print_verdicts(outcome.report, words_of(language))
        for package in outcome.packages:
            echo(f"package: {package}")
        if outcome.closed and not quick:
            names = ", ".join(line.split()[0] for line in outcome.closed)
            echo(f"gate closed: {names} (required, and not passed)", err=True)
        say(f"overview: {outcome.overview}", options)
    if quick:
        say("a first look proves nothing; leave --quick out to judge and package", options)
        return int(any(a.verdict == "fail" for a in outcome.report.artifacts))
    return int(bool(outcome.closed))
