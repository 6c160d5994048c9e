"""What is wrong with a table that exists: rows looked at, some made again from their texts."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from exporter import __version__
from exporter.checkpoint.records import Checkpoint, Prompts
from exporter.index.vector_table import Vectors, VectorTable
from exporter.parity.compare import Cosines, row_cosines
from exporter.parity.index_origin import FOREIGN_SCHEME, NOISE_ROOM, check_width
from exporter.progress import Stages
from exporter.recipe import Recipe
from exporter.runtimes.encoder import Original
from exporter.tables.doctor_mistakes import Row, as_unit, explain
from exporter.tables.doctor_records import MOST_IDS, Compared, Diagnosis, RowProblem
from exporter.tables.doctor_scan import REBUILD, Scan, scan_rows

STRIPPED = 1e-4
"""How much better a row must fit stripped to be counted as made so."""
DOUBT = 4.0
"""How many times torch bf16's own distance a row may lie off before mistakes are tried on it."""
COARSE = 0.97
"""A median cosine from here to the limit, with nothing else to explain it, is one of precision."""


@dataclass(frozen=True)
class Picked:
    """The rows that are compared: their place in the table, texts, and vectors at length 1."""

    at: tuple[int, ...]
    rows: tuple[Row, ...]
    vectors: Vectors


def examine(
    table: VectorTable, *, original: Original, recipe: Recipe, document_prompt: str | None,
    sample: int | None, stages: Stages,
) -> Diagnosis:  # fmt: skip
    """Look at every row of `table`, and make `sample` of them again in torch fp32, None for all.

    Rows are picked evenly by the length of their text. What does not hold the vector of its text
    is compared with what tables are often made of instead: another prompt, texts cut short, another
    sliding window, no end token, another row's text. Raises BadInput for a table of another width.
    """
    checkpoint = original.checkpoint
    check_width(table, checkpoint)
    scan = scan_rows(table, progress=stages(f"{table.name}: read", table.rows))
    prompt = document_prompt or (
        table.origin.document_prompt if table.origin else checkpoint.prompts.document
    )
    compared, problems = None, list(scan.problems)
    picked = pick(table, scan, sample=sample)
    if picked is not None:
        scheme = table.origin.scheme if table.origin else FOREIGN_SCHEME
        loosest, usual = (recipe.limits_for(s).cosine_p1_min for s in (scheme, FOREIGN_SCHEME))
        compared, found = _compare(
            picked, original=original, dim=table.dim, prompt=prompt, stages=stages,
            loosest=loosest, coarser=max(1.0, (1 - loosest) / max(1e-9, 1 - usual)),
        )  # fmt: skip
        problems += found
    problems.sort(key=lambda found: found.severity == "note")
    return Diagnosis(
        tool_version=__version__, table=table.name, rows=table.rows, dim=table.dim,
        model_name=checkpoint.name, compared=compared, problems=tuple(problems),
    )  # fmt: skip


def pick(table: VectorTable, scan: Scan, *, sample: int | None) -> Picked | None:
    """Return rows with text and vector, evenly by the length of their text, the shortest and the
    longest among them; None where there are none."""
    able = np.flatnonzero((scan.lengths > 0) & scan.usable)
    if not able.size:
        return None
    order = able[np.argsort(scan.lengths[able], kind="stable")]
    count = len(order) if sample is None else min(sample, len(order))
    at = np.unique(order[np.linspace(0, len(order) - 1, count).round().astype(np.int64)])
    wanted = set(at.tolist())
    rows: list[Row] = []
    vectors: list[Vectors] = []
    start = 0
    for (ids, block), (_, titles, texts) in zip(
        table.vectors(missing=True), table.texts(), strict=True
    ):
        for i in (i for i in range(len(ids)) if start + i in wanted):
            rows.append(Row(ids[i], titles[i], texts[i]))
            vectors.append(block[i].copy())
        start += len(ids)
    return Picked(tuple(at.tolist()), tuple(rows), as_unit(np.stack(vectors)))


def _compare(
    picked: Picked, *, original: Original, dim: int, prompt: str, loosest: float, coarser: float,
    stages: Stages,
) -> tuple[Compared, list[RowProblem]]:  # fmt: skip
    prompts = Prompts(query="{text}", document=prompt)
    given = [prompts.render_document(row.text, title=row.title) for row in picked.rows]
    stripped = [text.strip() for text in given]
    unique = list(dict.fromkeys([*given, *stripped]))
    progress = stages("rows made again, torch bf16", len(given))
    with closing(original.used.open()) as encoder:
        used = as_unit(encoder.encode(given, on_progress=progress)[:, :dim])
    progress = stages("rows made again, torch fp32", len(unique))
    with closing(original.truth.open()) as encoder:
        vectors = as_unit(encoder.encode(unique, on_progress=progress)[:, :dim])
        made = dict(zip(unique, vectors, strict=True))
        as_given, bare = (np.stack([made[text] for text in some]) for some in (given, stripped))
        noise = 1 - row_cosines(as_given, used)
        limit = 1 - max(NOISE_ROOM * coarser * float(noise.max()), NOISE_ROOM * (1 - loosest))
        cosines_given, cosines_bare = (
            row_cosines(rows, picked.vectors) for rows in (as_given, bare)
        )
        truth = np.where((cosines_bare > cosines_given)[:, None], bare, as_given)
        cosines = np.maximum(cosines_given, cosines_bare)
        room = DOUBT * coarser * np.maximum(noise, np.median(noise))
        # Written so that NaN is doubtful.
        doubtful = np.flatnonzero(~(1 - cosines <= np.minimum(room, 1 - limit))).tolist()
        found = {}
        if doubtful:
            found = explain(
                picked.rows, picked.vectors, doubtful, made=truth, encoder=encoder,
                checkpoint=_with_document_prompt(original.checkpoint, prompt), prompt=prompt,
                progress=stages("what the others hold", len(doubtful)),
            )  # fmt: skip
    compared = Compared(
        rows=len(given), document_prompt=prompt, median=float(np.median(cosines)),
        least=float(cosines.min()), limit=limit, noise=float(1 - noise.max()),
        stripped=int((cosines_bare > cosines_given + STRIPPED).sum()),
    )  # fmt: skip
    off = [i for i in doubtful if i in found or not cosines[i] >= limit]
    return compared, list(_problems(picked, cosines, found, off, compared))


def _with_document_prompt(checkpoint: Checkpoint, prompt: str) -> Checkpoint:
    prompts = checkpoint.prompts.model_copy(update={"document": prompt})
    return replace(checkpoint, prompts=prompts)


def _problems(
    picked: Picked, cosines: Cosines, found: dict[int, str], off: Sequence[int],
    compared: Compared,
) -> Iterator[RowProblem]:  # fmt: skip
    by_said: dict[str, list[int]] = {}
    for i in off:
        by_said.setdefault(found.get(i, ""), []).append(i)
    unknown = by_said.pop("", [])
    for said, rows in sorted(by_said.items(), key=lambda item: -len(item[1])):
        yield _problem(picked, "mistaken", f"hold the vectors of {said}", REBUILD, rows)
    if not unknown:
        return
    median = float(np.median(cosines[unknown]))
    whole = len(unknown) == compared.rows
    if whole and median >= COARSE:
        yield _problem(
            picked, "coarse", f"lie {1 - median:.1e} from the original (median): made by a model "
            "of lower precision, or of another checkpoint of the same family",
            "judge it with 'lawvault parity --index', or build the table again with "
            "'lawvault index'", unknown,
        )  # fmt: skip
    else:
        yield _problem(
            picked, "foreign", f"do not hold the vector of their text (median cosine {median:.3f}):"
            " made by another model, or their texts changed since", REBUILD, unknown,
        )  # fmt: skip


def _problem(
    picked: Picked, kind: str, said: str, remedy: str, rows: Sequence[int]
) -> RowProblem:  # fmt: skip
    return RowProblem(
        kind=kind, severity="problem", said=said, remedy=remedy, rows=len(rows),
        asked=len(picked.rows), ids=tuple(picked.rows[i].id for i in rows[:MOST_IDS]),
    )  # fmt: skip
