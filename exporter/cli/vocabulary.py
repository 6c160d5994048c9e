"""lawvault vocabulary: the pieces that a domain needs, for artifacts of a fraction of the size."""

from pathlib import Path

import click

from exporter.cli.checkpoint import load_checkpoint
from exporter.cli.common import CORPUS, CommonOptions, common_options, default_output, next_command
from exporter.cli.progress import ProgressLines
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.cli.terminal import echo
from exporter.errors import BadInput
from exporter.records import canonical_json
from exporter.vocabulary.classes import CLASSES
from exporter.vocabulary.count import Share
from exporter.vocabulary.make import MadeVocabulary

DOUBTFUL = 0.05
"""Share of lost pieces beyond which texts are hardly of the domain."""


@click.command()
@click.option(
    "--corpus",
    "corpora",
    multiple=True,
    metavar="FOLDER",
    type=CORPUS,
    help="Folder in BEIR's layout: its documents are counted, its questions held out. Repeatable.",
)
@click.option(
    "--texts",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="More texts to count: one a line, or JSON lines with text, title and role. Repeatable.",
)
@click.option(
    "--held-out",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Questions that are not counted, one a line or JSON lines: how many keep every piece? "
    "Repeatable.",
)
@click.option(
    "--keep",
    default=",".join(CLASSES),
    show_default=True,
    metavar="CLASS,...",
    help="Pieces to keep whether counted or not: ideographs (cjk), single ASCII characters, "
    "digits, punctuation. Nothing: ''.",
)
@recipe_option
@common_options()
def vocabulary(
    options: CommonOptions,
    *,
    corpora: tuple[Path, ...],
    texts: tuple[Path, ...],
    held_out: tuple[Path, ...],
    keep: str,
    recipe: str | None,
) -> None:
    """Choose the pieces that texts of a domain need, and write a tokenizer that has only them.

    Two thirds of EmbeddingGemma are a table of 262,144 rows. Pass the folder to 'lawvault export
    ... --vocabulary'. A text whose pieces are all kept has the vector of the whole artifact, to the
    last bit; how many of the questions do is said here, and proven by 'lawvault parity'.
    """
    from exporter.vocabulary.count import asked_in, documents_of, questions_of, texts_of
    from exporter.vocabulary.make import make_vocabulary

    if not corpora and not texts:
        raise BadInput("no texts to count; pass --corpus FOLDER or --texts FILE")
    checkpoint = load_checkpoint(options, choose_recipe(recipe, options), quiet_findings=True)
    prompts = checkpoint.prompts
    counted = [documents_of(folder, prompts) for folder in corpora]
    counted += [texts_of(path, prompts) for path in texts]
    asked = [questions_of(folder, prompts) for folder in corpora]
    tried = [named for named in asked if named is not None]
    tried += [asked_in(path, prompts) for path in held_out]
    output = options.output or default_output(checkpoint, "vocabulary")
    with ProgressLines(options) as progress:
        made = make_vocabulary(
            checkpoint,
            output,
            counted=counted,
            classes=[name.strip() for name in keep.split(",") if name.strip()],
            held_out=tried,
            force=options.force,
            stages=progress.stage,
        )
    if options.as_json:
        click.echo(canonical_json(_described(made)), nl=False)
    else:
        _print(made, output, options, recipe)


def _print(made: MadeVocabulary, output: Path, options: CommonOptions, recipe: str | None) -> None:
    kept, of = len(made.map.kept), made.map.pieces
    echo(f"{output}  {kept:,} of {of:,} pieces ({kept / of:.1%})")
    echo("kept: " + ", ".join(f"{count:,} {name}" for name, count in made.steps))
    for name, share, most in made.held_out:
        line = f"held out: {share.identical:,} of {share.texts:,} {name} keep every piece"
        echo(f"{line} ({_percent(share)})" + _lost(most))
        if sum(share.lost.values()) > DOUBTFUL * share.pieces:
            part = sum(share.lost.values()) / share.pieces
            echo(
                f"warning: {part:.0%} of the pieces of {name} are lost, so these are hardly texts "
                "of the domain; count texts like them (--texts), or keep the whole vocabulary",
                err=True,
            )
    if not made.held_out:
        echo("held out: nothing, so it is not known what is lost; pass --held-out FILE", err=True)
    parts = ("export", "onnx", "--quant", "int8", "--vocabulary", output)
    echo("next: " + next_command(*parts, options=options, recipe=recipe))


def _percent(share: Share) -> str:
    """Return the share of texts, never rounded up to all of them."""
    part = 1000 * share.identical // share.texts / 10
    return f"{part:.1f} %"


def _lost(most: tuple[tuple[str, int], ...]) -> str:
    if not most:
        return ""
    return "; lost most: " + ", ".join(f"{piece!r} {times:,}" for piece, times in most)


def _described(made: MadeVocabulary) -> dict[str, object]:
    return {
        "pieces": len(made.map.kept),
        "of": made.map.pieces,
        "kept": dict(made.steps),
        "counted": [named.model_dump(mode="json") for named in made.map.counted],
        "held_out": [
            {
                "name": name,
                "texts": share.texts,
                "identical": share.identical,
                "pieces": share.pieces,
                "lost": sum(share.lost.values()),
                "lost_most": dict(most),
            }
            for name, share, most in made.held_out
        ],
    }
