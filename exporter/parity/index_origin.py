"""Was a table made with this checkpoint and this document prompt? Its own texts tell."""

from collections.abc import Callable, Sequence

import numpy as np

from exporter.checkpoint.records import Checkpoint, Prompts
from exporter.errors import BadInput
from exporter.index.records import IndexOrigin
from exporter.index.vector_table import VectorTable
from exporter.manifest import checkpoint_difference
from exporter.parity.compare import Cosines, row_cosines, summarize_cosines
from exporter.parity.index_records import OriginCheck
from exporter.parity.rows import Rows, as_rows
from exporter.recipe import Recipe

SAMPLED_ROWS = 200
TRIED_ROWS = 20
"""Of the sample, to find out which prompt the table may have been made with."""
FOREIGN_SCHEME = "bf16"
"""A table without metadata is taken for one made at 16 bits or better, as LawVault's are."""
NOISE_ROOM = 2.0
"""How many times as far from fp32 as torch bf16 here, at the 1st percentile of the sample, a table
may lie: bf16 of another machine rounds elsewhere, and two hundred rows leave a percentile loose."""
KNOWN_PROMPTS = (
    "title: {title} | text: {text}", "title: none | text: {text}", "{text}", "{title}\n{text}",
    "{title} {text}", "title: none | text: {title} {text}", "passage: {text}",
    "passage: {title} {text}", "search_document: {text}",
)  # fmt: skip

Embed = Callable[[Sequence[str]], Rows]


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
    table: VectorTable, *, checkpoint: Checkpoint, document_prompt: str, recipe: Recipe,
    embed: Embed, embed_used: Embed,
) -> OriginCheck:  # fmt: skip
    """Compare the table's metadata, where this tool wrote it, then make its first rows again.

    `embed` is torch fp32, `embed_used` torch bf16: a table is not refuted for rows that lie as far
    from fp32 as bf16 itself lies on these very texts. Raises BadInput where the recipe has no
    limits for the scheme.
    """
    origin = table.origin
    scheme = FOREIGN_SCHEME if origin is None else origin.scheme
    limit = recipe.limits_for(scheme).cosine_p1_min
    reasons = (
        [] if origin is None else _against_metadata(origin, table, checkpoint, document_prompt)
    )
    sample = _Sample(table, embed) if table.columns.text is not None else None
    cosine, stripped, noise = None, 0, None
    if sample is not None and len(sample.ids):
        cosines, stripped = sample.cosines(document_prompt)
        cosine = summarize_cosines(cosines, sample.texts, ids=sample.ids,
                                   kinds=["document"] * len(sample.ids), worst=5)  # fmt: skip
        noise = sample.noise(document_prompt, embed_used)
        limit = min(limit, 1 - NOISE_ROOM * (1 - noise))
        # Written so that NaN refutes.
        if not cosine.p1 >= limit:
            reasons.append(_refutation(sample, cosines, limit, document_prompt))
    status = "refuted" if reasons else ("unverified" if cosine is None else "verified")
    if status == "unverified":
        known = "the rows' texts are empty" if sample else "no text column is known"
        reasons.append(
            f"unverified origin: {known}, so its vectors cannot be made again; pass --text-column "
            "and --title-column, or build a table with 'lawvault index'"
        )
    return OriginCheck.model_validate(
        {
            "status": status, "reasons": tuple(reasons), "metadata": origin,
            "rows": len(sample.ids) if sample else 0, "document_prompt": document_prompt,
            "cosine": cosine, "limit": limit, "noise": noise, "stripped": stripped,
        }
    )  # fmt: skip


def _against_metadata(
    origin: IndexOrigin, table: VectorTable, checkpoint: Checkpoint, document_prompt: str
) -> list[str]:
    ours = {path: digest for path, _, digest in checkpoint.file_hashes()}
    theirs = origin.checkpoint_files
    different = checkpoint_difference(ours, theirs)
    found = []
    if different is not None:
        found.append(
            f"not made with this checkpoint: its metadata names '{origin.model_name}', whose "
            f"{different} differs"
        )
    elif origin.window_used != checkpoint.window_used:
        found.append(
            f"made with the sliding window {origin.window_used}, this run uses "
            f"{checkpoint.window_used}; pass the other --window"
        )
    if origin.document_prompt != document_prompt:
        found.append(
            f"made with the document prompt {origin.document_prompt!r}, this run has "
            f"{document_prompt!r}"
        )
    if origin.dim != table.dim:
        found.append(f"its metadata says {origin.dim} dimensions, it has {table.dim}")
    return found


class _Sample:
    """The first rows of a table that have a text: their vectors, ids, titles and texts."""

    def __init__(self, table: VectorTable, embed: Embed) -> None:
        self._embed, self.dim = embed, table.dim
        vectors = next(table.vectors())[1][:SAMPLED_ROWS].copy()
        ids, titles, texts = next(table.texts(limit=SAMPLED_ROWS))
        kept = [i for i, text in enumerate(texts) if text.strip()]
        self.ids, self.texts = [ids[i] for i in kept], [texts[i] for i in kept]
        self.titles, self.vectors = [titles[i] for i in kept], vectors[kept]

    def cosines(self, prompt: str, *, count: int | None = None) -> tuple[Cosines, int]:
        """Return the cosines of the first `count` rows to their texts embedded with `prompt`, and
        how many fit only stripped."""
        prompts = Prompts(query="{text}", document=prompt)
        pairs = list(zip(self.titles, self.texts, strict=True))[:count]
        given = [prompts.render_document(text, title=title) for title, text in pairs]
        stripped = [text.strip() for text in given]
        unique = list(dict.fromkeys([*given, *stripped]))
        at = {text: row for row, text in enumerate(unique)}
        made = self._embed(unique).cut(self.dim)
        stored = as_rows(self.vectors[: len(pairs)], source="the table")
        as_given, as_stripped = (
            row_cosines(made.take(np.array([at[text] for text in texts])), stored)
            for texts in (given, stripped)
        )
        better = as_stripped > as_given + 1e-4
        return np.where(better, as_stripped, as_given), int(better.sum())

    def noise(self, prompt: str, embed_used: Embed) -> float:
        """Return the 1st percentile of torch bf16's own cosine to fp32 on the sample."""
        prompts = Prompts(query="{text}", document=prompt)
        given = [
            prompts.render_document(text, title=title)
            for title, text in zip(self.titles, self.texts, strict=True)
        ]
        both = (embed(given).cut(self.dim) for embed in (self._embed, embed_used))
        return float(np.percentile(row_cosines(*both), 1))


def _refutation(sample: _Sample, cosines: Cosines, limit: float, prompt: str) -> str:
    low = int((cosines < limit).sum())
    median, p1 = float(np.median(cosines)), float(np.percentile(cosines, 1))
    if median >= limit:
        return (
            f"{low} of the first {len(cosines)} rows do not hold the vector of their text (1st "
            f"percentile {p1:.4f}, limit {limit:.4f}, first "
            f"'{_first_low(sample, cosines, limit)}'): texts changed since the table was made, or "
            "were cut; build a new one with 'lawvault index'"
        )
    said = (
        f"not made with this checkpoint and prompt: the first {len(cosines)} rows, made again "
        f"from their texts, have a median cosine of {median:.4f}, limit {limit:.4f}"
    )
    tried = {}
    for other in KNOWN_PROMPTS:
        if other != prompt:
            tried[other] = float(np.median(sample.cosines(other, count=TRIED_ROWS)[0]))
    best = max(tried, key=tried.__getitem__)
    if tried[best] >= limit:
        return f"{said}; they fit --document-prompt {best!r} ({tried[best]:.6f})"
    return f"{said}; no usual prompt fits better than {max(median, tried[best]):.4f}"


def _first_low(sample: _Sample, cosines: Cosines, limit: float) -> str:
    return sample.ids[int(np.flatnonzero(cosines < limit)[0])]
