"""Was a table made with this checkpoint and this document prompt? Its own texts tell."""

import numpy as np

from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput
from exporter.manifest import checkpoint_difference
from exporter.parity.compare import summarize_cosines
from exporter.progress import Stages
from exporter.recipe import Recipe
from exporter.runtimes.encoder import Original
from exporter.tables.columns import IndexOrigin, with_probes
from exporter.tables.judgement import OriginCheck
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

SAMPLED_ROWS, LONGEST_ROWS = 200, 40
"""The first rows of a table with a text, and the longest: a window shows in these alone."""


def check_width(table: VectorTable, checkpoint: Checkpoint) -> None:
    """Raise BadInput where the checkpoint gives no vectors of the table's width."""
    usable = sorted({checkpoint.dim, *checkpoint.matryoshka_dims}, reverse=True)
    if table.dim not in usable:
        raise BadInput(
            f"{table.where} holds vectors of {table.dim} dimensions, '{checkpoint.name}' gives "
            f"{', '.join(map(str, usable))}; pass the checkpoint it was made with, or build a "
            "table with 'lawvault index'"
        )


def check_origin(
    table: VectorTable,
    *,
    original: Original,
    document_prompt: str,
    recipe: Recipe,
    embed: Embed,
    stages: Stages,
) -> OriginCheck:
    """Compare the table's metadata, where this tool wrote it, then make some of its rows again.

    A table is not refuted for rows that lie as far from fp32 as torch bf16 itself lies on these
    very texts; it is for rows that hold what a known mistake makes, however near. Raises BadInput
    where the recipe has no limits for the scheme.
    """
    origin = table.origin
    limit, coarser = limits_of_origin(table, recipe)
    reasons = (
        []
        if origin is None
        else _against_metadata(origin, table, original.checkpoint, document_prompt)
    )
    places = [] if table.columns.text is None else _places(table)
    cosine, stripped, noise = None, 0, None
    if places:
        sample = take_rows(table, places)
        made = remake(
            sample,
            prompt=document_prompt,
            original=original,
            embed=embed,
            coarser=coarser,
            stages=stages,
        )
        cosine = summarize_cosines(
            made.cosines,
            [row.text for row in sample.rows],
            ids=[row.id for row in sample.rows],
            kinds=["document"] * len(sample.rows),
            worst=5,
        )
        noise, stripped = float(np.percentile(1 - made.noise, 1)), made.stripped
        limit = min(limit, 1 - NOISE_ROOM * (1 - noise))
        reasons += _refutations(sample, made, limit)
    status = "refuted" if reasons else ("unverified" if cosine is None else "verified")
    if status == "unverified":
        known = (
            "no text column is known" if table.columns.text is None else "the rows' texts are empty"
        )
        reasons.append(
            f"unverified origin: {known}, so its vectors cannot be made again; pass --text-column "
            "and --title-column, or build a table with 'lawvault index'"
        )
    return OriginCheck.model_validate(
        {
            "status": status,
            "reasons": tuple(reasons),
            "metadata": None if origin is None else with_probes(origin, None),
            "rows": len(places),
            "document_prompt": document_prompt,
            "cosine": cosine,
            "limit": limit,
            "noise": noise,
            "stripped": stripped,
        }
    )


def _places(table: VectorTable) -> list[int]:
    """Return the places of the first rows with a text, and of the longest."""
    lengths = np.concatenate(
        [[len(text) if text.strip() else 0 for text in texts] for _, _, texts in table.texts()]
    )
    able = np.flatnonzero(lengths)
    first = able[:SAMPLED_ROWS]
    longest = able[np.argsort(-lengths[able], kind="stable")][:LONGEST_ROWS]
    return [int(i) for i in np.union1d(first, longest)]


def _against_metadata(
    origin: IndexOrigin, table: VectorTable, checkpoint: Checkpoint, document_prompt: str
) -> list[str]:
    ours = {path: digest for path, _, digest in checkpoint.file_hashes()}
    space = origin.space
    different = checkpoint_difference(ours, space.model_files)
    found = []
    if different is not None:
        found.append(
            f"not made with this checkpoint: its metadata names '{space.model_name}', whose "
            f"{different} differs"
        )
    elif space.sliding_window != checkpoint.window_used:
        found.append(
            f"made with the sliding window {space.sliding_window}, this run uses "
            f"{checkpoint.window_used}; pass the other --window"
        )
    if space.prompts.document != document_prompt:
        found.append(
            f"made with the document prompt {space.prompts.document!r}, this run has "
            f"{document_prompt!r}"
        )
    if space.dim != table.dim:
        found.append(f"its metadata says {space.dim} dimensions, it has {table.dim}")
    return found


def _refutations(sample: RowSample, made: Remade, limit: float) -> list[str]:
    """Return what is wrong with the rows that were made again."""
    count = len(sample.rows)
    found = [
        f"{len(rows)} of {count} rows, made again from their texts, hold the vectors of "
        f"{mistake.said} (first '{sample.rows[rows[0]].id}')"
        + (f"; {mistake.remedy}" if mistake.remedy else "")
        for mistake, rows in made.by_mistake()
    ]
    median, p1 = float(np.median(made.cosines)), float(np.percentile(made.cosines, 1))
    # Written so that NaN refutes.
    if found or p1 >= limit:
        return found
    if median >= limit:
        low = [i for i, cosine in enumerate(made.cosines) if not cosine >= limit]
        return [
            f"{len(low)} of {count} rows do not hold the vector of their text (1st percentile "
            f"{p1:.4f}, limit {limit:.4f}, first '{sample.rows[low[0]].id}'): texts changed since "
            "the table was made, or were cut; build a new one with 'lawvault index'"
        ]
    return [
        f"not made with this checkpoint and prompt: {count} rows, made again from their texts, "
        f"have a median cosine of {median:.4f}, limit {limit:.4f}; no usual prompt fits better"
    ]
