"""Tokenize texts as given, and walk over them in batches of similar length."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from exporter.progress import Progress


def token_rows(tokenizer: Tokenizer, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
    """Return the ids of each text after `prompt`, special tokens included."""
    encoded = tokenizer.encode_batch([prompt + text for text in texts])
    return [list(e.ids) for e in encoded]


def padded(
    rows: Sequence[Sequence[int]], *, width: int, pad: int = 0, left: bool = False
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (ids, mask), both (n, width) int64, padded on the right unless `left`."""
    ids = np.full((len(rows), width), pad, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for at, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(len(row))
        ids[at, place] = row
        mask[at, place] = 1
    return ids, mask


def batches_by_length(
    rows: Sequence[Sequence[int]], *, budget: int, pad: int = 0
) -> Iterator[tuple[list[int], npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield (indices, ids, mask) with at most `budget` padded tokens each, longest texts last.

    ids, mask: (batch, sequence) int64, padded on the right. A longer single text goes alone.
    """
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), i))
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and len(rows[order[stop]]) * (stop + 1 - start) <= budget:
            stop += 1
        picked = order[start:stop]
        ids, mask = padded([rows[i] for i in picked], width=len(rows[picked[-1]]), pad=pad)
        yield picked, ids, mask
        start = stop


def of_one_length(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the indices of the rows of each length, shortest first."""
    lengths: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        lengths.setdefault(len(row), []).append(index)
    for length in sorted(lengths):
        yield lengths[length]


Run = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""(ids, mask), both (batch, sequence), to vectors, (batch, dim)."""


def run_of_one_length(
    rows: Sequence[Sequence[int]], run: Run, *, dim: int, budget: int, on_progress: Progress | None
) -> npt.NDArray[np.float32]:
    """Return what `run` makes of each row, (n, dim), in their order; a batch holds rows of one
    length and at most `budget` tokens, so that nothing is padded."""
    vectors = np.empty((len(rows), dim), np.float32)
    for picked in of_one_length(rows):
        same = [rows[i] for i in picked]
        for at, ids, mask in batches_by_length(same, budget=budget):
            batch = [picked[i] for i in at]
            vectors[batch] = run(ids, mask)
            if on_progress is not None:
                on_progress(len(batch))
    return vectors
