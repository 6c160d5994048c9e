"""Vectors in fewer bits, in numpy: what LanceDB's own codecs are compared with."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from exporter.vectors.rows import Vectors
from exporter.vectors.search import Ranking

Scores = npt.NDArray[np.float32]


def unit(vectors: Vectors, dim: int) -> Vectors:
    """Return the first `dim` components of (n, width) float32, scaled to length 1."""
    cut = vectors[:, :dim].astype(np.float32)
    made: Vectors = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    return made


def signs(vectors: Vectors) -> npt.NDArray[np.uint8]:
    """Return one bit a component, eight to a byte: (n, ceil(width / 8))."""
    return np.packbits(vectors > 0, axis=1)


def _in_16_bits(documents: Vectors, queries: Vectors) -> Scores:
    rounded = (part.astype(np.float16).astype(np.float32) for part in (queries, documents))
    asked, held = rounded
    scores: Scores = asked @ held.T
    return scores


def _in_8_bits(documents: Vectors, queries: Vectors) -> Scores:
    """Scalar quantization between the least and the largest component of all, queries too."""
    low, high = float(documents.min()), float(documents.max())
    step = (high - low) / 255

    def held(vectors: Vectors) -> Vectors:
        codes = np.clip(np.rint((vectors - low) / step), 0, 255)
        back: Vectors = (codes * step + low).astype(np.float32)
        return back

    scores: Scores = held(queries) @ held(documents).T
    return scores


def _in_1_bit(documents: Vectors, queries: Vectors) -> Scores:
    asked, held = (np.where(part > 0, 1, -1).astype(np.float32) for part in (queries, documents))
    scores: Scores = asked @ held.T
    return scores


REFERENCES: dict[str, Callable[[Vectors, Vectors], Scores]] = {
    "float32": lambda documents, queries: queries @ documents.T,
    "float16": _in_16_bits,
    "int8": _in_8_bits,
    "binary": _in_1_bit,
}
"""Codec -> scores, (q, n), of (n, dim) documents for (q, dim) queries, larger is nearer."""


def nearest(codec: str, documents: Vectors, queries: Vectors, *, k: int = 10) -> Ranking:
    """Return the k rows that score highest for each query, (q, k), the smaller number among
    equals."""
    made = []
    for start in range(0, len(queries), 64):
        scores = REFERENCES[codec](documents, queries[start : start + 64])
        made.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
    return np.concatenate(made)
