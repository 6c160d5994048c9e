"""Head correction: the one matrix after pooling, refitted to what quantization left of its input.

Ridge regression (Hoerl and Kennard, 1970) of the quantized pooled states onto the reference's,
pulled towards the head as trained, and folded into it: it costs nothing at run time.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from exporter.manifest import HeadCorrectionRecord
from exporter.quantization.weights import ModelWeights

Floats = npt.NDArray[np.float32]
Choice = Literal["on", "off", "auto"]

EVERY = 3  # every third text is held out: texts are documents and queries by turns
# Of the mean square of a pooled component; the largest leaves the head almost as trained.
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
WORTHWHILE = 0.95  # of the error before: less gain than that is chance


def correct_head(
    head: Floats, reference: Floats, quantized: Floats, *, choice: Choice
) -> tuple[Floats, HeadCorrectionRecord]:
    """Return the corrected head and what is to be said of it.

    head: (hidden, dim); reference, quantized: (n, hidden), mean-pooled states of the same texts
    in float32 and after quantization. The strength of the pull is chosen on held-out texts; with
    `auto` the head stays as it is where they gain less than 5 %.
    """
    held = np.arange(len(reference)) % EVERY == EVERY - 1
    truth = reference[held] @ head
    before = _error(quantized[held] @ head, truth)
    errors = {
        strength: _error(
            quantized[held] @ _ridge(head, reference[~held], quantized[~held], strength=strength),
            truth,
        )
        for strength in STRENGTHS
    }
    best = min(errors, key=lambda strength: errors[strength])
    applied = choice == "on" or (choice == "auto" and errors[best] < WORTHWHILE * before)
    record = HeadCorrectionRecord(
        choice=choice, applied=applied, texts=len(reference), held_out=int(held.sum()),
        strength=best, error_before=_rounded(before), error_after=_rounded(errors[best]),
    )  # fmt: skip
    return (_ridge(head, reference, quantized, strength=best) if applied else head), record


class CorrectedHead(ModelWeights):
    """Other weights with another head. Everything else is asked of `inner`."""

    def __init__(self, inner: ModelWeights, head: Floats) -> None:
        super().__init__(inner.checkpoint)
        self._inner, self._head = inner, head

    @property
    def embed_scale(self) -> float:
        return self._inner.embed_scale

    def matrix(self, name: str) -> Floats:
        return self._inner.matrix(name)

    def gain(self, name: str) -> Floats:
        return self._inner.gain(name)

    def epsilon(self, name: str) -> float:
        return self._inner.epsilon(name)

    def head(self, *, dim: int) -> Floats:
        return np.ascontiguousarray(self._head[:, :dim])


def _ridge(head: Floats, reference: Floats, quantized: Floats, *, strength: float) -> Floats:
    """Return the head that minimises |quantized H' - reference H|^2 + strength |H' - H|^2."""
    x = quantized.astype(np.float64)
    missing = (reference.astype(np.float64) - x) @ head
    gram = x.T @ x
    pull = strength * len(x) * float(np.mean(np.square(x)))
    gram[np.diag_indices_from(gram)] += pull
    correction = np.linalg.solve(gram, x.T @ missing)
    return (head + correction).astype(np.float32)


def _error(made: Floats, truth: Floats) -> float:
    """Return the mean of 1 - cosine."""
    a = made.astype(np.float64)
    b = truth.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean(1 - (a * b).sum(axis=1) / np.maximum(lengths, 1e-30)))


def _rounded(value: float) -> float:
    return float(np.format_float_positional(value, precision=4, fractional=False))
