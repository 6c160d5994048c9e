"""What a file's vectors are worth against torch fp32's: the figures of one row."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.corpus.beir import Corpus
from exporter.parity.compare import row_cosines
from exporter.parity.measured import Difference
from exporter.parity.statistics import paired_difference
from exporter.vectors.rows import Rows
from exporter.vectors.search import Ranking, measure, overlap, search

WAYS = ("both", "queries", "documents")
"""Whose vectors are the file's: both sides', the questions' on fp32's index, the documents'."""
LONG = (513, 2048)
"""Tokens of the texts that are looked at by themselves."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """1 - cosine to torch fp32 of so many texts."""

    texts: int
    median: float
    p99: float
    worst: float


@dataclass(frozen=True)
class Way:
    """overlap: mean share of fp32's ten first; mrr: MRR@10's difference to fp32's."""

    overlap: float
    mrr: Difference


@dataclass(frozen=True)
class Figures:
    """All texts, and long ones (None where there is none), at each dim; each way at each dim."""

    errors: Mapping[int, Errors]
    long: Mapping[int, Errors] | None
    ways: Mapping[int, Mapping[str, Way]]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, dims as text."""
        return {
            "errors": {str(dim): asdict(found) for dim, found in self.errors.items()},
            "long": None
            if self.long is None
            else {str(dim): asdict(found) for dim, found in self.long.items()},
            "ways": {
                str(dim): {
                    name: {"overlap": way.overlap, "mrr": way.mrr.model_dump()}
                    for name, way in ways.items()
                }
                for dim, ways in self.ways.items()
            },
        }


class Yardstick:
    """torch fp32's vectors of a corpus, and what it finds, and its vectors of long texts."""

    def __init__(
        self,
        corpus: Corpus,
        documents: Rows,
        questions: Rows,
        *,
        long: Rows | None = None,
        dims: Sequence[int],
    ) -> None:
        self.corpus, self.dims = corpus, tuple(dims)
        self._documents, self._questions = documents, questions
        self._long = long
        self._found = {d: search(questions.cut(d), documents.cut(d)) for d in self.dims}
        self._mrr = {dim: self._mrr_of(found) for dim, found in self._found.items()}

    @property
    def mrr(self) -> float:
        """Return fp32's own MRR@10 at full width."""
        return float(self._mrr[self.dims[0]].mean())

    def judge(self, documents: Rows, questions: Rows, long_texts: Rows | None = None) -> Figures:
        """Return the figures of a file's vectors of the same texts."""
        errors: dict[int, Errors] = {}
        long: dict[int, Errors] = {}
        ways: dict[int, dict[str, Way]] = {}
        for dim in self.dims:
            ours = documents.cut(dim), questions.cut(dim)
            theirs = self._documents.cut(dim), self._questions.cut(dim)
            off = np.concatenate([1 - row_cosines(a, b) for a, b in zip(ours, theirs, strict=True)])
            errors[dim] = _errors(off)
            if self._long is not None and long_texts is not None:
                long[dim] = _errors(1 - row_cosines(long_texts.cut(dim), self._long.cut(dim)))
            sides = {
                "both": ours,
                "queries": (theirs[0], ours[1]),
                "documents": (ours[0], theirs[1]),
            }
            ways[dim] = {name: self._way(dim, *sides[name]) for name in WAYS}
        return Figures(errors, long or None, ways)

    def _way(self, dim: int, documents: Rows, questions: Rows) -> Way:
        found = search(questions, documents)
        mrr = paired_difference(self._mrr_of(found), self._mrr[dim])
        return Way(float(overlap(found, self._found[dim]).mean()), mrr)

    def _mrr_of(self, found: Ranking) -> Values:
        c = self.corpus
        return measure(found, doc_ids=c.doc_ids, query_ids=c.query_ids, qrels=c.qrels)["mrr_at_10"]


def _errors(off: Values) -> Errors:
    # Rounding in float64 may leave a cosine above 1.
    off = np.maximum(off, 0)
    return Errors(len(off), float(np.median(off)), float(np.percentile(off, 99)), float(off.max()))
