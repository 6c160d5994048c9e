"""The texts of a corpus as they are encoded, and the vectors that come back."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from exporter.checkpoint.contents import Prompts
from exporter.corpus.beir import Corpus, TextRole
from exporter.errors import BadInput
from exporter.progress import Progress
from exporter.runtimes.encoder import Source, Vectors
from exporter.vectors.cache import opened, text_keys
from exporter.vectors.rows import Places, Rows

SHARD_TEXTS = 512
"""Encoded and kept together: what a killed run loses at most. Its texts are of similar length."""


@dataclass(frozen=True)
class Embedded:
    """One encoder's vectors of a corpus at its full width."""

    name: str
    documents: Rows
    queries: Rows

    def at(self, dim: int) -> tuple[Rows, Rows]:
        """Return (documents, queries) cut to `dim`; blocks of them have length 1."""
        return self.documents.cut(dim), self.queries.cut(dim)

    def together(self, dim: int) -> Rows:
        """Return all rows cut to `dim`, documents first."""
        places = np.concatenate([self.documents.places, self.queries.places])
        return replace(self.documents.cut(dim), places=places)


class Texts:
    """The corpus with its prompts applied: `all`, documents before queries, with their `ids` and
    `kinds`.

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
        self.kinds: list[TextRole] = ["document"] * len(documents)
        self.kinds += ["question"] * len(corpus.query_ids)
        self.unique = list(dict.fromkeys(self.all))
        self.documents = len(documents)
        at = {text: row for row, text in enumerate(self.unique)}
        self._unique_of: Places = np.asarray([at[text] for text in self.all], np.int64)

    def spread(self, rows: Rows) -> Embedded:
        """Return the vectors of all texts from those of the unique ones."""
        every = rows.take(self._unique_of)
        documents, queries = slice(self.documents), slice(self.documents, None)
        return Embedded(rows.source, every.take(documents), every.take(queries))


def shards(texts: Sequence[str]) -> Iterator[list[int]]:
    """Yield indices, texts of similar length together; the same for every encoder."""
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    for start in range(0, len(order), SHARD_TEXTS):
        yield order[start : start + SHARD_TEXTS]


class Engine(Protocol):
    """Encodes lists of texts, each list in one call of an encoder: here or on many machines."""

    def __call__(
        self, source: Source, shards: Sequence[Sequence[str]], *, begin: Callable[[], Progress]
    ) -> Generator[tuple[int, Vectors], None, None]:
        """Yield (place in `shards`, (texts, dim) unit rows) in any order. `begin` is called once,
        when the first text is about to be encoded; its progress counts texts."""
        ...


def encode_here(
    source: Source, shards: Sequence[Sequence[str]], *, begin: Callable[[], Progress]
) -> Generator[tuple[int, Vectors], None, None]:
    """Encode on this machine, one list after the other. See `Engine`."""
    encoder = source.open()
    try:
        progress = begin()
        for place, texts in enumerate(shards):
            yield place, encoder.encode(texts, on_progress=progress)
    finally:
        encoder.close()


def embed_texts(
    source: Source,
    texts: Sequence[str],
    *,
    cache: Path,
    start: Callable[[str, int], Progress],
    engine: Engine = encode_here,
) -> Rows:
    """Return the vectors of `texts`, encoding with `engine` only what `cache` does not hold.

    A shard of which one text is missing is encoded whole: its texts then have the companions they
    would have in a run that was never stopped. Raises BadInput where a vector is not finite or the
    encoder's width is not `source.dim`.
    """
    keys = text_keys(texts)
    with opened(cache, identity=source.identity, dim=source.dim) as store:
        places = store.places(keys)
        wanted = [shard for shard in shards(texts) if (places[shard] < 0).any()]
        known = len(texts) - sum(map(len, wanted))

        def begin() -> Progress:
            label = source.name if wanted else f"{source.name}, kept from before"
            progress = start(label, len(texts))
            if known:
                progress(known)
            return progress

        if not wanted:
            begin()
            return Rows(store.vectors(), places, source.dim, source.name)
        given = [[texts[i] for i in shard] for shard in wanted]
        with closing(engine(source, given, begin=begin)) as encoded:
            for place, vectors in encoded:
                shard = np.asarray(wanted[place])
                if vectors.shape != (len(shard), source.dim):
                    raise BadInput(
                        f"{source.name} gave vectors of {vectors.shape[-1]} dimensions, "
                        f"not {source.dim}; export it again"
                    )
                # A text that is kept keeps its vector: a run that embeds it again in other company
                # would report other last digits than the run after it.
                new = np.flatnonzero(places[shard] < 0)
                first = len(store)
                store.append(keys[shard[new]], vectors[new])
                places[shard[new]] = np.arange(first, first + len(new))
        return Rows(store.vectors(), places, source.dim, source.name)


def embed_each(
    source: Source,
    texts: Sequence[str],
    *,
    cache: Path,
    start: Callable[[str, int], Progress],
    engine: Engine = encode_here,
) -> Rows:
    """Return one row for each of `texts`, which may repeat; each distinct one is encoded once."""
    unique = list(dict.fromkeys(texts))
    at = {text: row for row, text in enumerate(unique)}
    places: Places = np.asarray([at[text] for text in texts], np.int64)
    return embed_texts(source, unique, cache=cache, start=start, engine=engine).take(places)
