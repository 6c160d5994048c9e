"""What a row holds that is not the vector of its text: the mistakes that tables are made by."""

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.progress import Progress
from exporter.runtimes.encoder import Encoder, PaddedEncoder, Variant
from exporter.tables.vector_table import Vectors

Tokens = Sequence[int]
Values = npt.NDArray[np.float64]
KNOWN_PROMPTS = (
    "title: {title} | text: {text}",
    "title: none | text: {text}",
    "{text}",
    "{title}\n{text}",
    "{title} {text}",
    "title: none | text: {title} {text}",
    "passage: {text}",
    "passage: {title} {text}",
    "search_document: {text}",
)
CUTS = (64, 128, 256, 512, 1024)
"""Lengths in tokens that runtimes cut at by default: MiniLM's 128 and 256, BERT's 512."""
HALF_WAY, NEAR, SURE = 0.5, 0.5, 0.05
TRIED_ROWS = 24
"""Rows that each mistake is tried on; one that explains any of them is tried on all."""


@dataclass(frozen=True)
class TableRow:
    """A row with its text."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Mistake:
    """`said`: what its vectors are. `applies`: to a text of these tokens, prompt included.
    `remedy`: what to pass where the table is right and the run is not."""

    said: str
    vectors: Callable[[Sequence[TableRow], Sequence[Tokens]], Vectors]
    applies: Callable[[Tokens], bool] = lambda tokens: bool(tokens)
    remedy: str = ""


def explain(
    rows: Sequence[TableRow],
    vectors: Vectors,
    doubtful: Sequence[int],
    *,
    made: Vectors,
    room: Values,
    encoder: Encoder,
    checkpoint: Checkpoint,
    prompt: str,
    variants: Sequence[Variant],
    progress: Progress,
) -> dict[int, Mistake]:
    """Return, for rows of `doubtful` whose vectors a mistake explains, which it is.

    `vectors`: (rows, dim) unit rows as stored; `made`: the same made again rightly; `room`: how
    far, as 1 - cosine, each sound row may lie off. A mistake explains a row where the stored vector
    lies from the right one in the mistake's direction: more than half way to it, and nearer to that
    line than half its length. Noise of 16 bits has no such direction. All mistakes are tried on a
    few rows, and those that explain any of them on the rest; then on a few of what is left, until
    nothing explains those.
    """
    best: dict[int, tuple[float, Mistake]] = {}

    def weigh(mistake: Mistake, some: Sequence[int], wrong: Vectors) -> None:
        for i, row in zip(some, as_unit(wrong[:, : vectors.shape[1]]), strict=True):
            apart = _apart(vectors[i] - made[i], row - made[i])
            if apart < min(NEAR, best[i][0] if i in best else NEAR):
                best[i] = (apart, mistake)

    others = _nearest_others(vectors, made, doubtful, room=room)
    if others:
        swapped = Mistake("the texts of other rows", lambda rows, tokens: made[: len(rows)])
        weigh(swapped, list(others), made[list(others.values())])
    prompts = Prompts(query="{text}", document=prompt)
    texts = [prompts.render_document(rows[i].text, title=rows[i].title) for i in doubtful]
    tokens = dict(zip(doubtful, encoder.token_ids(texts), strict=True))

    def weigh_all(some: Sequence[int], *, named: Container[str] | None = None) -> None:
        for mistake in _mistakes(encoder, checkpoint, prompt, variants):
            able = [
                i
                for i in some
                if mistake.applies(tokens[i]) and not (i in best and best[i][0] < SURE)
            ]
            if able and (named is None or mistake.said in named):
                given = [rows[i] for i in able], [tokens[i] for i in able]
                weigh(mistake, able, mistake.vectors(*given))
        progress(len(some))

    pending = list(doubtful)
    while pending:
        at = np.unique(np.linspace(0, len(pending) - 1, TRIED_ROWS).round().astype(int))
        tried = [pending[i] for i in at]
        weigh_all(tried)
        named = {best[i][1].said for i in tried if i in best}
        rest = [i for i in pending if i not in set(tried)]
        if not named:
            progress(len(rest))
            break
        weigh_all(rest, named=named)
        pending = [i for i in rest if i not in best]
    return {i: mistake for i, (_, mistake) in best.items()}


def _apart(found: Vectors, mistake: Vectors) -> float:
    """Return how far `found` lies from the line of `mistake`, in lengths of it; infinity where it
    does not go half the way."""
    squared = float(mistake @ mistake)
    way = float(found @ mistake) / squared if squared else 0.0
    if way <= HALF_WAY:
        return float("inf")
    return float(np.linalg.norm(found - way * mistake) / squared**0.5)


def as_unit(rows: Vectors) -> Vectors:
    """Return rows of length 1."""
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _nearest_others(
    vectors: Vectors, made: Vectors, doubtful: Sequence[int], *, room: Values
) -> dict[int, int]:
    """Return for rows of `doubtful` the other row whose right vector they hold, within `room`."""
    if len(made) < 2:
        return {}
    found = {}
    for i in doubtful:
        scores = made @ vectors[i]
        scores[i] = -np.inf
        if 1 - scores.max() <= room[i]:
            found[i] = int(np.argmax(scores))
    return found


def _mistakes(
    encoder: Encoder, checkpoint: Checkpoint, prompt: str, variants: Sequence[Variant]
) -> Iterator[Mistake]:
    saved = (checkpoint.prompts.document, checkpoint.own_prompts.document)
    asked = (checkpoint.prompts.query, checkpoint.own_prompts.query)
    for template in dict.fromkeys((*saved, *KNOWN_PROMPTS, *asked)):
        if template != prompt:
            yield Mistake(
                f"texts with the prompt {template!r}",
                _with_prompt(encoder, template),
                remedy=f"pass --document-prompt {template!r}",
            )
    if isinstance(encoder, PaddedEncoder):
        yield from _of_tokens(encoder)
    yield from _of_variants(variants, Prompts(query="{text}", document=prompt))


def _with_prompt(
    encoder: Encoder, template: str
) -> Callable[[Sequence[TableRow], Sequence[Tokens]], Vectors]:
    prompts = Prompts(query="{text}", document=template)
    return lambda rows, _: encoder.encode(
        [prompts.render_document(row.text, title=row.title) for row in rows]
    )


def _of_tokens(encoder: PaddedEncoder) -> Iterator[Mistake]:
    def changed(change: Callable[[Tokens], Tokens]) -> Callable[..., Vectors]:
        def vectors(_: Sequence[TableRow], tokens: Sequence[Tokens]) -> Vectors:
            rows = [change(row) for row in tokens]
            return np.concatenate([encoder.encode_padded([r], width=len(r)) for r in rows])

        return vectors

    def longer(count: int) -> Callable[[Tokens], bool]:
        return lambda tokens: len(tokens) > count

    yield Mistake("texts without their end token", changed(lambda t: t[:-1]), longer(1))
    yield Mistake("texts without their start token", changed(lambda t: t[1:]), longer(1))
    for count in CUTS:
        yield Mistake(
            f"texts cut at {count} tokens",
            changed(lambda t, n=count: [*t[: n - 1], t[-1]]),  # type: ignore[misc]
            longer(count),
        )
        yield Mistake(
            f"texts cut at {count} tokens, their end token lost",
            changed(lambda t, n=count: t[:n]),  # type: ignore[misc]
            longer(count),
        )


def _of_variants(variants: Sequence[Variant], prompts: Prompts) -> Iterator[Mistake]:
    """Yield what a model that was loaded wrongly gives; each is loaded when its turn comes."""

    def by(variant: Variant) -> Callable[..., Vectors]:
        def vectors(rows: Sequence[TableRow], _: Sequence[Tokens]) -> Vectors:
            texts = [prompts.render_document(row.text, title=row.title) for row in rows]
            with closing(variant.load()) as encoder:
                return encoder.encode(texts)

        return vectors

    for variant in variants:
        beyond = variant.beyond or 0
        yield Mistake(
            variant.said,
            by(variant),
            lambda tokens, n=beyond: len(tokens) > n,  # type: ignore[misc]
            remedy=variant.remedy,
        )
