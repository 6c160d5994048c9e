"""What is wrong with a table that exists: rows looked at, some made again from their texts."""

from collections.abc import Iterator, Sequence

import numpy as np

from exporter import __version__
from exporter.progress import Stages
from exporter.recipe import Recipe
from exporter.runtimes.encoder import Original
from exporter.tables.diagnosis import MOST_IDS, Compared, Diagnosis, RowProblem
from exporter.tables.doctor_scan import REBUILD, Scan, scan_rows
from exporter.tables.origin import check_width
from exporter.tables.rows import (
    NOISE_ROOM,
    Embed,
    Remade,
    RowSample,
    limits_of_origin,
    remake,
    take_rows,
)
from exporter.tables.vector_table import VectorTable

COARSE = 0.97
"""A median cosine from here to the limit, with nothing else to explain it, is one of precision."""


def examine(
    table: VectorTable,
    *,
    original: Original,
    recipe: Recipe,
    document_prompt: str | None,
    sample: int | None,
    embed: Embed,
    stages: Stages,
) -> Diagnosis:
    """Look at every row of `table`, and make `sample` of them again in torch fp32, None for all.

    Rows are picked evenly by the length of their text. What does not hold the vector of its text
    is compared with what tables are often made of instead: another prompt, texts cut short, another
    sliding window, no end token, another row's text. Raises BadInput for a table of another width.
    """
    checkpoint = original.checkpoint
    check_width(table, checkpoint)
    scan = scan_rows(table, progress=stages(f"{table.name}: read", table.rows))
    prompt = document_prompt or (
        table.origin.space.prompts.document if table.origin else checkpoint.prompts.document
    )
    compared, problems = None, list(scan.problems)
    places = pick(scan, sample=sample)
    if places:
        rows = take_rows(table, places)
        least, coarser = limits_of_origin(table, recipe)
        made = remake(
            rows, prompt=prompt, original=original, embed=embed, coarser=coarser, stages=stages
        )
        limit = 1 - NOISE_ROOM * max(coarser * float(made.noise.max()), 1 - least)
        compared = Compared(
            rows=len(rows.rows),
            document_prompt=prompt,
            median=float(np.median(made.cosines)),
            least=float(made.cosines.min()),
            limit=limit,
            noise=float(1 - made.noise.max()),
            stripped=made.stripped,
        )
        problems += _problems(rows, made, limit)
    problems.sort(key=lambda found: found.severity == "note")
    return Diagnosis(
        tool_version=__version__,
        table=table.name,
        rows=table.rows,
        dim=table.dim,
        model_name=checkpoint.name,
        compared=compared,
        problems=tuple(problems),
    )


def pick(scan: Scan, *, sample: int | None) -> list[int]:
    """Return places of rows with text and vector, evenly by the length of their text, the shortest
    and the longest among them."""
    able = np.flatnonzero((scan.lengths > 0) & scan.usable)
    if not able.size:
        return []
    order = able[np.argsort(scan.lengths[able], kind="stable")]
    count = len(order) if sample is None else min(sample, len(order))
    at = np.unique(order[np.linspace(0, len(order) - 1, count).round().astype(np.int64)])
    return [int(i) for i in at]


def _problems(sample: RowSample, made: Remade, limit: float) -> Iterator[RowProblem]:
    for mistake, rows in made.by_mistake():
        remedy = f"{mistake.remedy}, or {REBUILD}" if mistake.remedy else REBUILD
        yield _problem(sample, "mistaken", f"hold the vectors of {mistake.said}", remedy, rows)
    # Written so that NaN is off.
    unknown = [
        i for i, cosine in enumerate(made.cosines) if i not in made.mistakes and not cosine >= limit
    ]
    if not unknown:
        return
    median = float(np.median(made.cosines[unknown]))
    if len(unknown) == len(sample.rows) and median >= COARSE:
        yield _problem(
            sample,
            "coarse",
            f"lie {1 - median:.1e} from the original (median): made by a model "
            "of lower precision, or of another checkpoint of the same family",
            "judge it with 'lawvault parity --index', or build the table again with "
            "'lawvault index'",
            unknown,
        )
    else:
        yield _problem(
            sample,
            "foreign",
            f"do not hold the vector of their text (median cosine {median:.3f}):"
            " made by another model, or their texts changed since",
            REBUILD,
            unknown,
        )


def _problem(
    sample: RowSample, kind: str, said: str, remedy: str, rows: Sequence[int]
) -> RowProblem:
    return RowProblem(
        kind=kind,
        severity="problem",
        said=said,
        remedy=remedy,
        rows=len(rows),
        asked=len(sample.rows),
        ids=tuple(sample.rows[i].id for i in rows[:MOST_IDS]),
    )
