"""lawvault doctor: what is wrong with a table of vectors that exists."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from exporter.cli.checkpoint import load_checkpoint
from exporter.cli.common import CommonOptions, common_options, default_output, say
from exporter.cli.parity_index import IndexOptions, open_given_table, table_options
from exporter.cli.progress import ProgressLines
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.cli.terminal import echo
from exporter.records import canonical_json, write_json

SAMPLE = 300
SHOWN_IDS = 5
SINGULAR = {"have": "has", "hold": "holds", "share": "shares", "lie": "lies", "do": "does"}


@click.command()
@click.argument("table_path", metavar="TABLE", type=click.Path(path_type=Path))
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    default=SAMPLE,
    show_default=True,
    metavar="N",
    help="Rows to make again, evenly by length. 0: all.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder that keeps vectors. Default: that of 'lawvault parity'.",
)
@table_options
@recipe_option
@common_options(output="A .json file for all of it. Default: none.", force=None)
def doctor(
    options: CommonOptions,
    table_path: Path,
    sample: int,
    cache: Path | None,
    recipe: str | None,
    **table: Any,
) -> int:
    """Look at every row of TABLE, and make some again from their texts.

    TABLE is the folder of a LanceDB database, a .parquet file, or a .npy file with its texts in
    JSON lines beside it. Names rows without a vector, zero vectors, ids and vectors that repeat,
    and rows that hold something else than the vector of their text: another prompt, texts cut
    short, another sliding window, another model. Exit code 1
    where a problem was found.
    """
    from exporter.parity.run import VECTORS_NAME
    from exporter.runtimes.original import open_original
    from exporter.tables.doctor import examine
    from exporter.vectors.embed import embed_each

    opened = open_given_table(IndexOptions(index=table_path, **table))
    chosen = choose_recipe(recipe, options)
    checkpoint = load_checkpoint(options, chosen)
    kept = cache or default_output(checkpoint) / VECTORS_NAME
    with ProgressLines(options) as progress:
        found = examine(
            opened,
            original=open_original(checkpoint),
            recipe=chosen.recipe,
            document_prompt=table["document_prompt"],
            sample=sample or None,
            embed=partial(embed_each, cache=kept, start=progress.stage),
            stages=progress.stage,
        )
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.output, found)
        say(f"written: {options.output}", options)
    if options.as_json:
        click.echo(canonical_json(found), nl=False)
    else:
        for line in describe(found):
            echo(line)
    return int(not found.is_sound)


def describe(found: Any) -> list[str]:
    """Return what a diagnosis says, line by line."""
    lines = [f"{found.table}: {found.rows:,} rows of {found.dim} dimensions"]
    compared = found.compared
    if compared is None:
        lines.append(
            "not compared with the model: no texts are known; pass --text-column and --title-column"
        )
    else:
        lines.append(
            f"{compared.rows:,} made again by {found.model_name} in torch fp32, document prompt "
            f"{compared.document_prompt!r}: median cosine {compared.median:.6f}, least "
            f"{compared.least:.4f}, limit {compared.limit:.4f}"
        )
        if compared.stripped:
            lines.append(f"{compared.stripped:,} of them were stripped before they were embedded")
    for problem in found.problems:
        of = "rows" if problem.asked == found.rows else f"of {problem.asked:,} compared rows"
        ids = ", ".join(problem.ids[:SHOWN_IDS]) + (", …" if problem.rows > SHOWN_IDS else "")
        count = ("at least " if problem.kind == "mistaken" else "") + f"{problem.rows:,}"
        said = problem.said
        if problem.rows == 1:
            of = "row" if of == "rows" else of
            verb, _, rest = said.partition(" ")
            said = f"{SINGULAR.get(verb, verb)} {rest}"
        lines.append(f"{problem.severity}: {count} {of} {said} ({ids})")
        lines.append(f"  {problem.remedy}")
    if not found.problems:
        lines.append("sound: nothing found")
    elif found.is_sound:
        lines.append("sound: only notes")
    return lines
