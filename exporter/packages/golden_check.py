"""Are these the golden vectors, and if not, which mistake was made?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.packages.golden import Golden
from exporter.runtimes.encoder import Encoder, Vectors

Values = npt.NDArray[np.float64]
HALF_WAY = 0.5
"""From the right vectors to a mistake's; beyond it the mistake is the nearer."""
OTHER_MODEL = 0.1
SHOWN = 40  # characters of a text


@dataclass(frozen=True)
class Comparison:
    """`own`, `reference`: 1 - cosine to the package's vectors and to the original's, one a text.

    `failures`: one line a text beyond its limit, after the line that says what is wrong; empty
    where the vectors are right.
    """

    own: Values
    reference: Values
    failures: tuple[str, ...]


def check_golden(golden: Golden, encoder: Encoder) -> list[str]:
    """Return one line for each thing in which `encoder` is not the artifact that was packaged.

    Token ids must be equal, and each vector within the text's limit of the artifact's own and of
    the original's. An empty list means the copy is good.
    """
    texts = [entry.text for entry in golden.texts]
    return check_answers(golden, encoder.token_ids(texts), encoder.encode(texts))


def check_answers(
    golden: Golden,
    ids: Sequence[Sequence[int]] | None,
    vectors: Sequence[Sequence[float]] | Vectors,
    *,
    only: Sequence[int] | None = None,
) -> list[str]:
    """The same for answers that are there already.

    vectors: one row a text, of any length; ids None where the consumer does not show them.
    `only`: which texts the answers are for; None for all.
    """
    at = list(range(len(golden.texts))) if only is None else list(only)
    if len(vectors) != len(at):
        return [f"{len(vectors)} vectors for {len(at)} texts"]
    failures = [
        f"other token ids for {shown(golden.texts[i].text)!r}"
        for place, i in enumerate(at)
        if ids is not None and tuple(ids[place]) != golden.texts[i].token_ids
    ]
    width = len(golden.texts[0].vector)
    other = next((len(vector) for vector in vectors if len(vector) != width), None)
    if other is not None:
        return [*failures, f"{other} dimensions instead of {width}"]
    said = compare(golden, np.asarray(vectors, np.float64), at).failures
    return [*said[:1], *failures, *said[1:]]  # what is wrong first


def compare(golden: Golden, vectors: Values, at: Sequence[int]) -> Comparison:
    """Compare vectors, (n, dim) of any length, with those of the golden texts `at`."""
    entries = [golden.texts[i] for i in at]
    rows = _unit(vectors)
    own = 1 - (rows * _unit(np.array([e.vector for e in entries]))).sum(axis=1)
    reference = 1 - (rows * _unit(np.array([e.reference for e in entries]))).sum(axis=1)
    limits = np.array([e.distance_max for e in entries])
    far = ~((own <= limits) & (reference <= limits))  # so that NaN is far
    lines = [
        f"{shown(entries[i].text)!r} is {max(own[i], reference[i]):.1e} from its vectors "
        f"(1 - cosine), at most {limits[i]:.1e} is right"
        for i in np.flatnonzero(far)
    ]
    mistake = nearest_mistake(golden, rows, at)
    if mistake is not None:
        lines.insert(0, f"these are the vectors of {mistake}")
    elif lines:
        lines.insert(0, _unnamed(golden, own, far, at))
    return Comparison(own, reference, tuple(lines))


def nearest_mistake(golden: Golden, rows: Values, at: Sequence[int]) -> str | None:
    """Return what the vectors are if they lie nearer to a mistake's than to the right ones.

    rows: (n, dim) unit rows of the golden texts `at`. Judged over all texts on which a mistake
    shows: rounding moves vectors, but hardly along one direction.
    """
    place = {index: row for row, index in enumerate(at)}
    found: list[tuple[float, str]] = []
    for mistake in golden.mistakes:
        known = [k for k, index in enumerate(mistake.at) if index in place]
        if not known:
            continue
        given = rows[[place[mistake.at[k]] for k in known]]
        right = _unit(np.array([golden.texts[mistake.at[k]].vector for k in known]))
        shift = _unit(np.array([mistake.vectors[k] for k in known])) - right
        moved = given - right
        if float((moved * shift).sum()) > HALF_WAY * float((shift**2).sum()):
            left = float(((moved - shift) ** 2).sum()) / float((moved**2).sum())
            found.append((left, mistake.said))
    left, said = min(found, default=(1.0, ""))
    return said if left < HALF_WAY else None


def _unnamed(golden: Golden, own: Values, far: npt.NDArray[np.bool_], at: Sequence[int]) -> str:
    """Guess from which texts differ, and by how much, what is done otherwise."""
    wrong = [index for index, beyond in zip(at, far, strict=True) if beyond]
    broken = [index for index in at if "\n" in golden.texts[index].text]
    if broken and wrong == broken and len(broken) < len(at):
        return "only texts with newlines differ: they are replaced on the way"
    if all(golden.is_cut(index) for index in wrong):
        return "only the text over the model's limit differs: it is cut elsewhere"
    if not np.median(own) < OTHER_MODEL:
        return "another model is served, or its pooling is lost"
    return "another file is served, or texts are changed on their way (a prompt of its own?)"


def shown(text: str) -> str:
    """Return the beginning of a text, for a message."""
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _unit(rows: Values) -> Values:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
