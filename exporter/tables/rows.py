"""Rows of a table, made again from their texts: what they should hold, and what they do."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from exporter.checkpoint.contents import Prompts
from exporter.parity.compare import Cosines, row_cosines
from exporter.progress import Stages
from exporter.recipe import Recipe
from exporter.runtimes.encoder import Original, Source
from exporter.tables.mistakes import Mistake, TableRow, as_unit, explain
from exporter.tables.vector_table import Vectors, VectorTable
from exporter.vectors.rows import Rows

FOREIGN_SCHEME = "bf16"
"""A table without metadata is taken for one made at 16 bits or better, as LawVault's are."""
NOISE_ROOM = 2.0
"""How many times as far from fp32 as torch bf16 here a table may lie: bf16 of another machine
rounds elsewhere, and two hundred rows leave a percentile loose."""
DOUBT = 4.0
"""How many times torch bf16's own distance a row may lie off before mistakes are tried on it."""
STRIPPED = 1e-4
"""How much better a row must fit stripped to be counted as made so."""

Embed = Callable[[Source, Sequence[str]], Rows]


@dataclass(frozen=True)
class RowSample:
    """Rows of a table with a text, and their vectors, (rows, dim), scaled to length 1."""

    rows: tuple[TableRow, ...]
    vectors: Vectors


@dataclass(frozen=True)
class Remade:
    """Rows beside torch fp32's vectors of their texts. All by the rows' order.

    `cosines` to the nearer of the text as given and stripped; `noise`: torch bf16's own 1 - cosine.
    `mistakes`: what rows hold instead, where it is known. `stripped`: rows that fit only stripped.
    """

    cosines: Cosines
    noise: Cosines
    mistakes: dict[int, Mistake]
    stripped: int

    def by_mistake(self) -> list[tuple[Mistake, list[int]]]:
        """Return each mistake with the rows that hold it, that of most rows first."""
        found: dict[str, list[int]] = {}
        for i, mistake in sorted(self.mistakes.items()):
            found.setdefault(mistake.said, []).append(i)
        ordered = sorted(found.values(), key=lambda rows: -len(rows))
        return [(self.mistakes[rows[0]], rows) for rows in ordered]


def take_rows(table: VectorTable, wanted: Sequence[int]) -> RowSample:
    """Read the rows at these places, in ascending order."""
    places = set(wanted)
    rows: list[TableRow] = []
    vectors: list[Vectors] = []
    start = 0
    for (ids, block), (_, titles, texts) in zip(
        table.vectors(missing=True), table.texts(), strict=True
    ):
        for i in (i for i in range(len(ids)) if start + i in places):
            rows.append(TableRow(ids[i], titles[i], texts[i]))
            vectors.append(block[i].copy())
        start += len(ids)
    return RowSample(tuple(rows), as_unit(np.stack(vectors)))


def limits_of_origin(table: VectorTable, recipe: Recipe) -> tuple[float, float]:
    """Return the least 1st percentile of the cosine for the scheme that the table was made with,
    and how many times as coarse as 16 bits that scheme may be."""
    scheme = FOREIGN_SCHEME if table.origin is None else table.origin.scheme
    least, usual = (recipe.limits_for(s).cosine_p1_min for s in (scheme, FOREIGN_SCHEME))
    return least, max(1.0, (1 - least) / max(1e-9, 1 - usual))


def remake(
    sample: RowSample,
    *,
    prompt: str,
    original: Original,
    embed: Embed,
    coarser: float,
    stages: Stages,
) -> Remade:
    """Make rows again in torch fp32 and bf16, and look for what doubtful ones hold instead.

    Doubtful is a row that lies `DOUBT` times as far off as torch bf16, `coarser` times that for a
    scheme so much coarser.
    """
    dim = sample.vectors.shape[1]
    prompts = Prompts(query="{text}", document=prompt)
    given = [prompts.render_document(row.text, title=row.title) for row in sample.rows]
    stripped = [text.strip() for text in given]
    truth = embed(original.truth, [*given, *stripped]).cut(dim)
    as_given = truth.block(0, len(given))
    bare = truth.block(len(given), 2 * len(given))
    used = embed(original.used, given).cut(dim).block(0, len(given))
    noise = 1 - row_cosines(as_given, used)
    cosines_given, cosines_bare = (row_cosines(rows, sample.vectors) for rows in (as_given, bare))
    right = np.where((cosines_bare > cosines_given)[:, None], bare, as_given)
    cosines = np.maximum(cosines_given, cosines_bare)
    room = DOUBT * coarser * np.maximum(noise, np.median(noise))
    # Written so that NaN is doubtful.
    doubtful = np.flatnonzero(~(1 - cosines <= room)).tolist()
    mistakes: dict[int, Mistake] = {}
    if doubtful:
        with closing(original.truth.open()) as encoder:
            mistakes = explain(
                sample.rows,
                sample.vectors,
                doubtful,
                made=right,
                room=room,
                encoder=encoder,
                checkpoint=original.checkpoint,
                prompt=prompt,
                variants=original.variants,
                progress=stages("what the others hold", len(doubtful)),
            )
    return Remade(
        cosines, noise, mistakes, stripped=int((cosines_bare > cosines_given + STRIPPED).sum())
    )
