"""Texts by their length: a window or a cut that damages only long ones is lost in an average."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.corpus.beir import Corpus
from exporter.parity.compare import Cosines, summarize_cosines
from exporter.parity.measured import LengthBucket
from exporter.vectors.embed import Texts
from exporter.vectors.search import Values

SHORT_TOKENS = 128
"""Most statutes and nearly all questions; also half of EmbeddingGemma's window of 257, halved."""


@dataclass(frozen=True)
class Lengths:
    """Token counts of all texts (n,), special tokens included, and which were cut (n,).

    `reach`: how many tokens a text may have without meeting the sliding window; None without one.
    """

    tokens: npt.NDArray[np.int32]
    cut: npt.NDArray[np.bool_]
    reach: int | None

    def buckets(
        self, cosines: Cosines, texts: Texts, *, ours: Values, reference: Values, corpus: Corpus
    ) -> tuple[LengthBucket, ...]:
        """Return figures for each range of lengths. cosines: (texts,), ours, reference:
        reciprocal ranks (questions,), counted where their right article lies."""
        answers = _answers(corpus)
        return tuple(
            _bucket(label, inside, cosines, texts, (ours, reference), answers)
            for label, inside in self._ranges()
        )

    def _ranges(self) -> list[tuple[str, npt.NDArray[np.bool_]]]:
        limits = {SHORT_TOKENS: ""}
        if self.reach is not None:
            limits[self.reach] = " (the window)"
        ranges = []
        low = 0
        for high, note in sorted(limits.items()):
            label = f"up to {high:,}" if low == 0 else f"{low + 1:,} to {high:,}"
            inside = (self.tokens > low) & (self.tokens <= high) & ~self.cut
            ranges.append((label + note, inside))
            low = high
        ranges.append((f"over {low:,}", (self.tokens > low) & ~self.cut))
        ranges.append(("cut", self.cut))
        return ranges


def _answers(corpus: Corpus) -> npt.NDArray[np.int64]:
    """Return for each question the index of its best right article, the first of equal ones."""
    at = {identifier: i for i, identifier in enumerate(corpus.doc_ids)}
    best = (
        max(sorted(corpus.qrels[q].items()), key=lambda item: item[1])[0] for q in corpus.query_ids
    )
    return np.array([at[identifier] for identifier in best], np.int64)


def _bucket(
    label: str,
    inside: npt.NDArray[np.bool_],
    cosines: Cosines,
    texts: Texts,
    ranks: tuple[Values, Values],
    answers: npt.NDArray[np.int64],
) -> LengthBucket:
    which = np.flatnonzero(inside)
    asked = inside[answers]
    summary = None
    if which.size:
        summary = summarize_cosines(
            cosines[which],
            [texts.all[i] for i in which],
            ids=[texts.ids[i] for i in which],
            kinds=[texts.kinds[i] for i in which],
            worst=1,
        )
    ours, reference = (float(r[asked].mean()) if asked.any() else None for r in ranks)
    return LengthBucket(
        label=label,
        texts=int(which.size),
        cosine=summary,
        questions=int(asked.sum()),
        mrr_at_10=ours,
        reference_mrr_at_10=reference,
    )
