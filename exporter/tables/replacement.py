"""New vectors of a table against its old ones: what is measured, and what was done."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import BadInput
from exporter.formats.open import artifact_source
from exporter.manifest import read_manifest
from exporter.parity.judge import margin_of
from exporter.parity.measured import Difference, Interval, Verdict
from exporter.parity.statistics import (
    mean_interval,
    non_inferiority,
    paired_difference,
    questions_to_decide,
)
from exporter.progress import Stages
from exporter.recipe import Recipe
from exporter.records import Record
from exporter.tables.columns import IndexOrigin
from exporter.tables.index_size_run import reciprocal
from exporter.tables.lance_table import LanceTable
from exporter.tables.search import TableScan, scan_table, search_table
from exporter.vectors.rows import Rows
from exporter.vectors.search import Ranking, overlap, search

Embed = Callable[..., Rows]
"""Source and texts to their vectors."""


@dataclass(frozen=True)
class Asked:
    """Questions, and the ids of the right documents of each; None: nobody wrote them down."""

    name: str
    texts: Sequence[str]
    answers: Sequence[Collection[str]] | None


class Replacement(Record):
    """New vectors against the old ones, each asked by its own artifact.

    `difference`: of MRR@10, new minus old; without judged answers the first document of the old
    vectors is taken for right (`judged` is false then).
    """

    questions: int
    judged: bool
    old_mrr_at_10: float
    new_mrr_at_10: float
    difference: Difference
    overlap_at_10: Interval
    margin: float
    verdict: Verdict
    needed: int | None
    """About how many questions would decide; None where the verdict has."""


class ReplaceOutcome(Record):
    """What a replacement did. `version`: what applications read now; `replaced`: the version that
    holds the vectors of before, None where nothing was replaced. `caught_up`: documents that were
    added or changed while the new vectors were made. `origin`: without its probes."""

    table: str
    rows: int
    dim: int
    version: int
    replaced: int | None
    caught_up: int
    approximate: bool
    measured: Replacement
    override_reason: str | None
    origin: IndexOrigin


class RollbackOutcome(Record):
    """The version whose vectors are current again, and the version that says so."""

    table: str
    restored: int
    version: int
    rows: int


def measure_replacement(
    opened: LanceTable,
    ids: Sequence[str],
    new: Rows,
    *,
    asked: Asked,
    asker: Path,
    artifact: Path,
    recipe: Recipe,
    embed: Embed,
    stages: Stages,
) -> Replacement:
    """Ask both and judge the new vectors by the recipe's margin for their artifact's precision."""
    manifest = read_manifest(artifact)
    scan = scan_table(opened, progress=stages(f"{opened.name}: read", opened.rows))
    old_questions = _questions(asker, asked, embed, dim=opened.dim)
    found_old = search_table(
        opened,
        scan,
        {"old": old_questions},
        metrics=("l2",),
        progress=stages(f"{opened.name}: searched", opened.rows),
    )["old", "l2"]
    place = {name: row for row, name in enumerate(ids)}
    ascending = np.asarray([place[name] for name in scan.ids], np.int64)
    found_new = search(_questions(artifact, asked, embed, dim=manifest.dim), new.take(ascending))
    answers, kept = _answers(asked, scan, found_old)
    mine, base = reciprocal(found_new[kept], answers), reciprocal(found_old[kept], answers)
    difference = paired_difference(mine, base)
    limits = recipe.limits_for(manifest.scheme)
    margin = margin_of(limits, "both", reference=float(base.mean()))
    verdict = non_inferiority(difference, margin=margin)
    needed = questions_to_decide(mine, base, margin=margin) if verdict == "undecided" else None
    return Replacement(
        questions=len(kept),
        judged=asked.answers is not None,
        old_mrr_at_10=float(base.mean()),
        new_mrr_at_10=float(mine.mean()),
        difference=difference,
        overlap_at_10=mean_interval(overlap(found_old[kept], found_new[kept])),
        margin=margin,
        verdict=verdict,
        needed=needed,
    )


def _questions(artifact: Path, asked: Asked, embed: Embed, *, dim: int) -> Any:
    manifest = read_manifest(artifact)
    if dim not in (manifest.dim, *manifest.matryoshka_dims):
        raise BadInput(
            f"'{artifact}' gives vectors of {manifest.dim} components, the table holds {dim}; pass "
            "the artifact that made it: --old ARTIFACT"
        )
    texts = [manifest.prompts.render_query(text) for text in asked.texts]
    rows = embed(artifact_source(artifact), texts).cut(dim)
    return rows.block(0, len(rows))


def _answers(asked: Asked, scan: TableScan, found_old: Ranking) -> tuple[list[set[int]], list[int]]:
    """Return the places of right documents, and the questions that have one in the table."""
    if asked.answers is None:
        return [{int(row[0])} for row in found_old], list(range(len(found_old)))
    place = {name: row for row, name in enumerate(scan.ids)}
    right = [{place[name] for name in names if name in place} for names in asked.answers]
    kept = [i for i, places in enumerate(right) if places]
    if not kept:
        raise BadInput(
            f"no answer of {asked.name} is the id of a document in the table; its questions are "
            "about other documents, or the ids are in another column (--id-column)"
        )
    return [right[i] for i in kept], kept
