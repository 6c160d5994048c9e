"""The golden texts in torch fp32: as they should be, and with each mistake of a server."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.runtimes.encoder import Encoder, PaddedEncoder, Variant, Vectors
from exporter.runtimes.variants import variants_of
from exporter.vectors.known_texts import golden_texts

OTHER_PROMPTS = ("task: search result | query: ", "title: none | text: ")
SHORT_TOKENS = 400
"""Mistakes at the ends of a text are looked for in texts up to here; they fade with length."""


@dataclass(frozen=True)
class Mistaken:
    """`said`: what such vectors are. `vectors`: (texts, dim) unit rows, for the texts `at`."""

    said: str
    at: tuple[int, ...]
    vectors: Vectors


@dataclass(frozen=True)
class Truth:
    """The golden texts with their prompts, and the original's vectors, (texts, dim) unit rows."""

    prompts: Prompts
    kinds: tuple[str, ...]
    texts: tuple[str, ...]
    vectors: Vectors
    mistakes: tuple[Mistaken, ...]
    cut: bool = True
    """Whether the last text is one that the original cuts."""


def measure_truth(checkpoint: Checkpoint) -> Truth:
    """Run the golden texts through torch fp32, right and wrong. Raises MissingDependency."""
    from exporter.runtimes.torch_reference import TorchReference

    with closing(TorchReference(checkpoint, dtype="float32")) as reference:
        return truth_of(reference, checkpoint.prompts, variants=variants_of(checkpoint))


def truth_of(reference: Encoder, prompts: Prompts, *, variants: Sequence[Variant] = ()) -> Truth:
    """The same of any encoder; `variants` are loaded one at a time."""
    kinds, texts = zip(*golden_texts(reference, prompts), strict=True)
    rows = reference.token_ids(texts)
    short = [i for i, row in enumerate(rows) if len(row) <= SHORT_TOKENS]
    mistakes = list(_of_ends(reference, texts, rows, short))
    for variant in variants:
        beyond = variant.beyond
        at = short if beyond is None else [i for i, row in enumerate(rows) if len(row) > beyond]
        if at:
            with closing(variant.load()) as encoder:
                vectors = encoder.encode([texts[i] for i in at])
            mistakes.append(Mistaken(variant.said, tuple(at), vectors))
    vectors = reference.encode(texts)
    doubled = len(reference.token_ids([2 * texts[-1]])[0])
    return Truth(prompts, kinds, texts, vectors, tuple(mistakes), cut=doubled == len(rows[-1]))


def _of_ends(
    reference: Encoder, texts: Sequence[str], rows: Sequence[Sequence[int]], short: Sequence[int]
) -> Iterator[Mistaken]:
    """Yield what is done wrong at the ends of a text."""
    at = tuple(short)
    given = [texts[i] for i in at]
    other = next(p for p in OTHER_PROMPTS if not all(text.startswith(p) for text in given))
    for said, changed in (
        ("texts with another prompt in front", [other + text for text in given]),
        ("texts with a space in front", [" " + text for text in given]),
        ("texts with a newline at the end", [text + "\n" for text in given]),
    ):
        yield Mistaken(said, at, reference.encode(changed))
    if not isinstance(reference, PaddedEncoder):
        return
    for said, place, part in (
        ("texts without their start token", 0, slice(1, None)),
        ("texts without their end token", -1, slice(-1)),
    ):
        if len({row[place] for row in rows}) == 1:  # every text has it: the tokenizer adds it
            lost = [reference.encode_padded([rows[i][part]], width=len(rows[i]) - 1) for i in at]
            yield Mistaken(said, at, np.concatenate(lost))
