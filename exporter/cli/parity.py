"""lawvault parity: compare artifacts with the original, and judge them."""

from pathlib import Path

import click

from exporter.cli.common import (
    CommonOptions,
    common_options,
    corpus_folder,
    default_output,
    load_checkpoint,
    load_recipe,
    recipe_option,
    say,
)
from exporter.cli.progress import ProgressLines
from exporter.errors import BadInput
from exporter.records import canonical_json


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--corpus", type=click.Path(path_type=Path),
              help="Folder in BEIR layout. Default: the recipe's.")  # fmt: skip
@click.option("--queries", type=click.Path(path_type=Path),
              help="Another queries.jsonl for the corpus.")  # fmt: skip
@click.option("--dims", metavar="N,N", help="Dims to judge. Default: all that were trained.")
@recipe_option
@common_options
def parity(
    options: CommonOptions, artifacts: tuple[Path, ...], corpus: Path | None,
    queries: Path | None, dims: str | None, recipe_path: Path | None,
) -> int:  # fmt: skip
    """Compare ARTIFACT... with the torch reference on a retrieval corpus.

    Prints the verdicts and writes parity.json and parity.md. Exit code 1 unless all passed.
    """
    from exporter.cli.table import print_verdicts
    from exporter.parity.corpus import read_corpus
    from exporter.parity.report import write_report
    from exporter.parity.run import run_parity
    from exporter.runtimes.open import open_artifact
    from exporter.runtimes.torch_reference import TorchReference

    recipe = load_recipe(recipe_path)
    wanted = _dims(dims)
    folder = corpus_folder(recipe, recipe_path=recipe_path, given=corpus)
    read = read_corpus(folder, queries=queries)
    checkpoint = load_checkpoint(options, recipe=recipe, prompts=recipe.prompts)
    output = options.output or default_output(checkpoint)
    if output.exists() and not output.is_dir():
        raise BadInput(f"--output '{output}' is a file; name a folder")
    with ProgressLines(options) as progress:
        report = run_parity(
            artifacts, checkpoint=checkpoint, corpus=read, recipe=recipe, dims=wanted,
            open_reference=lambda dtype: TorchReference(checkpoint, dtype=dtype),
            open_artifact=open_artifact, stages=progress.stage,
        )  # fmt: skip
    write_report(output, report)
    if options.as_json:
        click.echo(canonical_json(report), nl=False)
    else:
        print_verdicts(report)
    say(f"written: {output / 'parity.json'}, {output / 'parity.md'}", options)
    return int(report.verdict != "pass")


def _dims(value: str | None) -> list[int] | None:
    if value is None:
        return None
    try:
        return [int(part) for part in value.split(",")]
    except ValueError:
        raise BadInput(f"--dims '{value}' is not a list of whole numbers like 256,128") from None
