"""Does a text's vector depend on its companions, its place, the padding, or the threads?

An encoder whose does is of no use against an index: a text embedded today would not find itself.
"""

from collections.abc import Sequence
from contextlib import closing

import numpy as np

from exporter.parity.compare import row_cosines
from exporter.parity.measured import Invariance
from exporter.runtimes.encoder import PaddedEncoder, Source
from exporter.vectors.rows import Rows, Vectors

SAMPLE_TEXTS = 16
FULL_TOKENS = 8192
"""Tokens of a batch that is padded as far as the model reads: more would only cost memory."""
FULL_WIDTH = 2048
"""As far as a text is padded where the model reads more."""
LONGEST_SAMPLED = 256
"""Tokens. Effects of padding begin past 64; longer texts would only cost time."""


def sample_texts(tokens: Sequence[int], *, count: int = SAMPLE_TEXTS) -> list[int]:
    """Return indices of texts spread evenly over the lengths, the same for the same lengths.

    tokens: (n,) of each text; texts longer than LONGEST_SAMPLED are passed over, unless all are.
    """
    order = sorted(range(len(tokens)), key=lambda i: (tokens[i], i))
    order = [i for i in order if tokens[i] <= LONGEST_SAMPLED] or order[:1]
    at = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [order[i] for i in at]


def measure_invariance(
    source: Source, texts: Sequence[str], *, truth: Rows, max_tokens: int
) -> Invariance:
    """Encode `texts` alone, together, in reverse, padded and with other threads, and compare.

    truth: (texts, dim) of torch fp32, of which the encoder's width is compared. Nothing is padded
    past `max_tokens`, nor further than FULL_WIDTH.
    """
    with closing(source.open(threads=2)) as encoder:
        rows = encoder.token_ids(texts)
        width = max(map(len, rows))
        together = encoder.encode(texts)
        alone = np.concatenate([encoder.encode([text]) for text in texts])
        used = _changed(alone, together)
        companions = order = padding = left = None
        if isinstance(encoder, PaddedEncoder):
            run = encoder.encode_padded
            single = np.concatenate([run([row], width=width) for row in rows])
            batch = run(rows, width=width)
            companions = _changed(single, batch)
            order = _changed(batch, run(rows[::-1], width=width)[::-1])
            bare = np.concatenate([run([row], width=len(row)) for row in rows])
            wider = run(rows, width=min(width + width // 2, max_tokens))
            longest = max(width, min(max_tokens, FULL_WIDTH))
            count = max(1, FULL_TOKENS // longest)
            full = np.concatenate(
                [
                    run(rows[start : start + count], width=longest)
                    for start in range(0, len(rows), count)
                ]
            )
            moved = [_changed(bare, padded) for padded in (single, wider, full)]
            padding = (max(m[0] for m in moved), max(m[1] for m in moved))
            left = _changed(single, run(rows, width=width, left=True))[1]
    with closing(source.open(threads=1)) as encoder:
        threads = _changed(together, encoder.encode(texts))
    return Invariance(
        texts=len(texts),
        width=width,
        own_error=float((1 - row_cosines(together, truth.cut(together.shape[1]))).max()),
        as_used_changed=used[0],
        as_used_error=used[1],
        companions_changed=companions[0] if companions else None,
        companions_error=companions[1] if companions else None,
        order_changed=order[0] if order else None,
        order_error=order[1] if order else None,
        padding_changed=padding[0] if padding else None,
        padding_error=padding[1] if padding else None,
        left_padding_error=left,
        threads_changed=threads[0],
        threads_error=threads[1],
    )


def encode_in_padded_batches(
    source: Source, texts: Sequence[str], *, batch: int = 32
) -> Vectors | None:
    """Return (n, dim) vectors of `texts` in batches of similar length, each padded on the right to
    its longest, as sentence-transformers makes them; None where the runtime does not pad."""
    with closing(source.open()) as encoder:
        if not isinstance(encoder, PaddedEncoder):
            return None
        rows = encoder.token_ids(texts)
        order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), i))
        vectors = np.empty((len(rows), encoder.dim), np.float32)
        for start in range(0, len(order), batch):
            picked = order[start : start + batch]
            vectors[picked] = encoder.encode_padded(
                [rows[i] for i in picked], width=len(rows[picked[0]])
            )
        return vectors


def _changed(a: Vectors, b: Vectors) -> tuple[int, float]:
    """Return how many rows differ in any bit, and the worst 1 - cosine."""
    changed = (a.view(np.uint32) != b.view(np.uint32)).any(axis=1)
    if not changed.any():
        return 0, 0.0
    return int(changed.sum()), float(max(0.0, (1 - row_cosines(a, b)).max()))
