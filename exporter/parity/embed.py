"""The texts of a corpus as they are encoded, and the vectors that come back."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import Prompts
from exporter.parity.corpus import Corpus
from exporter.runtimes.encoder import Vectors, unit_rows


@dataclass(frozen=True)
class Embedded:
    """One encoder's vectors of a corpus at its full width: (documents, dim) and (queries, dim)."""

    name: str
    documents: Vectors
    queries: Vectors

    def at(self, dim: int) -> tuple[Vectors, Vectors]:
        """Return (documents, queries) cut to `dim` and scaled to length 1 again."""
        return (
            unit_rows(self.documents, [""] * len(self.documents), dim=dim, source=self.name),
            unit_rows(self.queries, [""] * len(self.queries), dim=dim, source=self.name),
        )

    def together(self, dim: int) -> Vectors:
        """Return the first `dim` components of all rows, documents first, not scaled."""
        return np.concatenate([self.documents[:, :dim], self.queries[:, :dim]])


class Texts:
    """The corpus with its prompts applied: `all`, documents before queries, with their `ids`.

    `unique` holds each distinct text once. It is what gets encoded: a text twice in two batches
    could get two vectors, a rounding apart, and a true tie would be broken by chance.
    """

    def __init__(self, corpus: Corpus, prompts: Prompts) -> None:
        documents = [
            prompts.render_document(text, title=title)
            for title, text in zip(corpus.titles, corpus.texts, strict=True)
        ]
        self.all = documents + [prompts.render_query(text) for text in corpus.queries]
        self.ids = [*corpus.doc_ids, *corpus.query_ids]
        self.unique = list(dict.fromkeys(self.all))
        at = {text: row for row, text in enumerate(self.unique)}
        self._rows: npt.NDArray[np.int64] = np.asarray([at[text] for text in self.all], np.int64)
        self._documents = len(documents)

    def spread(self, vectors: Vectors, *, name: str) -> Embedded:
        """Return the vectors of all texts from those of the unique ones."""
        rows = vectors[self._rows]
        return Embedded(name, rows[: self._documents], rows[self._documents :])
