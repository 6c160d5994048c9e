"""golden.json: texts with their ids and vectors, by which any copy of an artifact is checked.

How far a right copy may be follows from the artifact's own error on that very text: two correct
builds of a runtime round differently, so each lies its own error from the original, in another
direction. What a server does wrong is told by its direction instead: the vectors of likely mistakes
lie beside the right ones.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from exporter import __version__
from exporter.packages.golden_truth import Mistaken, Truth
from exporter.records import Record
from exporter.runtimes.encoder import Encoder
from exporter.vectors.probes import LEAST_TOLERANCE, OWN_ERRORS

SIGNIFICANT_DIGITS = 7
MISTAKE_DIGITS = 4
SHOWN_BY = 1 / 20
"""A mistake shows on a text if it moves it by this part of the limit: random rounding of the size
of the limit has a twentieth of its length in one direction of 256, and less in one of 768."""
TEXTS_OF_MISTAKE = 5


class GoldenText(Record):
    """One text as it is encoded, prompt applied; vectors have unit length.

    `distance_max`: how far, as 1 - cosine, a copy's vector may be from both.
    """

    kind: str
    text: str
    token_ids: tuple[int, ...]
    vector: tuple[float, ...]
    reference: tuple[float, ...]
    distance_max: float = Field(gt=0, le=2)


class GoldenMistake(Record):
    """What the artifact would give for the texts `at` with something done wrong.

    `said`: what such vectors are.
    """

    said: str
    at: tuple[int, ...] = Field(min_length=1)
    vectors: tuple[tuple[float, ...], ...]


class Golden(Record):
    """All golden texts of one artifact, how far a copy may be on them, and likely mistakes."""

    schema_version: Literal[2] = 2
    tool_version: str = __version__
    artifact: str
    query_prompt: str
    document_prompt: str
    texts: tuple[GoldenText, ...] = Field(min_length=1)
    cut: bool = True
    """Whether the last text is one that the model's limit cuts: a model that reads very far has
    none."""
    mistakes: tuple[GoldenMistake, ...]

    @model_validator(mode="after")
    def _vectors_of_one_width(self) -> "Golden":
        width = len(self.texts[0].vector)
        rows = [row for text in self.texts for row in (text.vector, text.reference)]
        rows += [row for mistake in self.mistakes for row in mistake.vectors]
        if not width or any(len(row) != width for row in rows):
            raise ValueError("vectors of different widths")
        for mistake in self.mistakes:
            if len(mistake.at) != len(mistake.vectors) or not all(
                0 <= place < len(self.texts) for place in mistake.at
            ):
                raise ValueError("mistakes of other texts")
        return self

    def limit_of(self, text: str) -> float:
        """Return `distance_max` of a text; for one that is not among them the largest."""
        limits = {entry.text: entry.distance_max for entry in self.texts}
        return limits.get(text, max(limits.values()))

    def is_cut(self, index: int) -> bool:
        """Return whether the model's limit cuts this text: the golden text made to be cut is, where
        there is one."""
        longest = max(len(text.token_ids) for text in self.texts)
        return self.cut and len(self.texts[index].token_ids) == longest


def build_golden(encoder: Encoder, truth: Truth) -> Golden:
    """Encode the golden texts with the artifact, and set each limit by its error to `truth`."""
    vectors = encoder.encode(truth.texts).astype(np.float64)
    ids = encoder.token_ids(truth.texts)
    limits = distance_limits(1 - (vectors * truth.vectors).sum(axis=1))
    entries = tuple(
        GoldenText(
            kind=truth.kinds[i],
            text=text,
            token_ids=tuple(ids[i]),
            vector=_rounded(vectors[i]),
            reference=_rounded(truth.vectors[i]),
            distance_max=float(f"{limits[i]:.3g}"),
        )
        for i, text in enumerate(truth.texts)
    )
    found = (_mistake(mistaken, vectors, truth, limits) for mistaken in truth.mistakes)
    return Golden(
        artifact=encoder.name,
        query_prompt=truth.prompts.query,
        document_prompt=truth.prompts.document,
        texts=entries,
        cut=truth.cut,
        mistakes=tuple(mistake for mistake in found if mistake is not None),
    )


def distance_limits(errors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far, as 1 - cosine, a right copy may be from each text's vectors.

    errors: (texts,), the artifact's own. An error small by luck counts as the median one.
    """
    limits = OWN_ERRORS * np.maximum(errors, np.median(errors))
    return np.asarray(np.clip(limits, LEAST_TOLERANCE, 2))


def _mistake(
    mistaken: Mistaken,
    vectors: npt.NDArray[np.float64],
    truth: Truth,
    limits: npt.NDArray[np.float64],
) -> GoldenMistake | None:
    """Return what the artifact would give: its own vectors, moved as torch's are.

    Only for the texts on which it shows best; None where it shows on none.
    """
    at = np.array(mistaken.at)
    right = truth.vectors[at].astype(np.float64)
    moved = (1 - (right * mistaken.vectors).sum(axis=1)) / limits[at]
    best = [int(i) for i in np.argsort(-moved, kind="stable")[:TEXTS_OF_MISTAKE]]
    best = sorted(i for i in best if moved[i] > SHOWN_BY)
    if not best:
        return None
    rows = vectors[at[best]] + mistaken.vectors[best] - right[best]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return GoldenMistake(
        said=mistaken.said,
        at=tuple(int(at[i]) for i in best),
        vectors=tuple(_rounded(row, digits=MISTAKE_DIGITS) for row in rows),
    )


def _rounded(vector: Sequence[float], *, digits: int = SIGNIFICANT_DIGITS) -> tuple[float, ...]:
    return tuple(float(f"{float(v):.{digits}g}") for v in vector)
