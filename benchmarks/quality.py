"""What a file makes of a corpus, against torch: the figures that quality benchmarks share."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter.checkpoint.contents import Checkpoint
from exporter.corpus.beir import Corpus
from exporter.parity.statistics import paired_difference
from exporter.runtimes.encoder import Vectors
from exporter.runtimes.torch_reference import TorchReference
from exporter.vectors.search import measure, overlap, search

COLUMNS = "1 - cosine (p1) | overlap@10 | MRR@10 difference [95 %]"


@dataclass(frozen=True)
class Figures:
    """`error`: median of 1 - cosine to torch fp32; `p1`: 1st percentile of the cosine; `overlap`:
    mean share of fp32's ten first; MRR@10's difference to torch bf16 with its 95 % interval."""

    error: float
    p1: float
    overlap: float
    mrr: float
    low: float
    high: float

    @property
    def cells(self) -> str:
        """Return the cells of a Markdown row, as in `COLUMNS`."""
        return (
            f"{self.error:.1e} ({self.p1:.4f}) | {self.overlap:.3f} | "
            f"{self.mrr:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"
        )


class Yardstick:
    """A checkpoint, the texts of a corpus (documents, then questions), and torch's vectors."""

    def __init__(self, checkpoint: Checkpoint, corpus: Corpus) -> None:
        self.checkpoint, self.corpus = checkpoint, corpus
        p = checkpoint.prompts
        self.texts = [
            p.render_document(text, title=title)
            for text, title in zip(corpus.texts, corpus.titles, strict=True)
        ] + [p.render_query(text) for text in corpus.queries]
        self.truth = TorchReference(checkpoint, dtype="float32").encode(self.texts)
        self.used = TorchReference(checkpoint, dtype="bfloat16").encode(self.texts)
        self._found = self._rank(self.truth)
        self._base = self._mrr(self._rank(self.used))

    def judge(self, vectors: Vectors) -> Figures:
        """Return the figures of another's vectors of the same texts. NaN counts as a zero row."""
        vectors = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0)
        errors = 1 - (vectors.astype(np.float64) * self.truth).sum(axis=1)
        ranking = self._rank(vectors)
        mrr = paired_difference(self._mrr(ranking), self._base)
        return Figures(
            error=float(np.median(errors)),
            p1=float(1 - np.percentile(errors, 99)),
            overlap=float(overlap(ranking, self._found).mean()),
            mrr=mrr.mean,
            low=mrr.low,
            high=mrr.high,
        )

    def _rank(self, vectors: Vectors) -> Any:
        count = len(self.corpus.doc_ids)
        return search(vectors[count:], vectors[:count])

    def _mrr(self, ranking: Any) -> Any:
        c = self.corpus
        return measure(ranking, doc_ids=c.doc_ids, query_ids=c.query_ids, qrels=c.qrels)[
            "mrr_at_10"
        ]
