"""Tokenize texts as given, and walk over them in batches of similar length."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from exporter.errors import BadInput


def load_tokenizer(path: Path, *, max_tokens: int) -> Tokenizer:
    """Return the tokenizer of `path`, cutting at `max_tokens` with its special tokens kept."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise BadInput(f"'{path}' cannot be read as a tokenizer ({error})") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def token_rows(tokenizer: Tokenizer, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
    """Return the ids of each text after `prompt`, special tokens included."""
    encoded = tokenizer.encode_batch([prompt + text for text in texts])
    return [list(e.ids) for e in encoded]


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
        width = len(rows[picked[-1]])
        ids = np.full((len(picked), width), pad, np.int64)
        mask = np.zeros((len(picked), width), np.int64)
        for at, index in enumerate(picked):
            ids[at, : len(rows[index])] = rows[index]
            mask[at, : len(rows[index])] = 1
        yield picked, ids, mask
        start = stop
