"""How long a whole corpus would take here, and which encoder is through with it first."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporter.errors import BadInput
from exporter.parity.compare import row_cosines
from exporter.progress import Stages
from exporter.runtimes.encoder import Source, TokenIds, Vectors
from exporter.vectors.cache import opened, text_keys

WORTH_POOLING = 600.0
"""Seconds that a whole corpus may take before pooling turns on by itself."""
SLOWEST = 20e9
"""Operations a second, two a weight and token. llama.cpp on one busy core, the slowest here, does
four times as many: what is short at this speed need not be timed."""
COUNTED_TEXTS = 1000
TIMED_GROUPS, TIMED_TEXTS = 4, 6
"""Texts that are timed: neighbours in length at four places of the order by length."""
CHOOSER_COSINE = 0.99
"""Least median cosine to torch bf16, on the texts timed, of an artifact that may choose."""


@dataclass(frozen=True)
class EncodingSpeed:
    """An encoder, its tokens a second on this machine, and the seconds it needs for the texts that
    the cache does not hold. `trusted`: it may choose documents for others."""

    source: Source
    tokens_per_second: float
    seconds: float
    trusted: bool


def may_be_long(texts: Sequence[str], encoders: int, *, tokens: TokenIds, weights: int) -> bool:
    """Return whether a corpus could take longer than WORTH_POOLING on a slow machine. Loads
    nothing."""
    return 2 * weights * mean_tokens(texts, tokens) * len(texts) * encoders / SLOWEST > (
        WORTH_POOLING
    )


def measure_speeds(
    used: Source,
    sources: Sequence[Source],
    texts: Sequence[str],
    *,
    tokens: TokenIds,
    cache: Path,
    stages: Stages,
    clock: Callable[[], float] = time.perf_counter,
) -> list[EncodingSpeed]:
    """Return the speed of `used`, torch bf16, then of each of `sources`, on a few of `texts`.

    An encoder that gives no usable vectors, or whose token ids are not the original's, counts as
    done at once and is not trusted: it will fail by itself.
    """
    keys = text_keys(texts)
    timed = _timed_texts(texts)
    ids = tokens(timed)
    count = sum(map(len, ids))
    whole = mean_tokens(texts, tokens) * len(texts)
    progress = stages("timing", 1 + len(sources))
    base: Vectors | None = None
    found = []
    for source in (used, *sources):
        with opened(cache, identity=source.identity, dim=source.dim) as store:
            missing = float((store.places(keys) < 0).mean())
        try:
            with closing(source.open()) as encoder:
                same = encoder.token_ids(timed) == ids
                encoder.encode(timed[:1])
                began = clock()
                vectors = encoder.encode(timed)
                seconds = max(clock() - began, 1e-9)
        except BadInput:
            found.append(EncodingSpeed(source, float("inf"), 0.0, trusted=False))
            progress(1)
            continue
        base = vectors if base is None else base
        trusted = (
            same
            and vectors.shape == base.shape
            and float(np.median(row_cosines(vectors, base))) >= CHOOSER_COSINE
        )
        found.append(
            EncodingSpeed(source, count / seconds, missing * whole * seconds / count, trusted)
        )
        progress(1)
    return found


def mean_tokens(texts: Sequence[str], tokens: TokenIds) -> float:
    """Return the mean number of tokens of `texts`, from a thousand of them."""
    at = np.unique(np.linspace(0, len(texts) - 1, COUNTED_TEXTS).astype(int))
    return float(np.mean([len(row) for row in tokens([texts[i] for i in at])]))


def _timed_texts(texts: Sequence[str]) -> list[str]:
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    starts = (np.arange(TIMED_GROUPS) + 0.5) / TIMED_GROUPS * len(order)
    at = [int(start) + i for start in starts for i in range(TIMED_TEXTS)]
    return [texts[order[i]] for i in at if i < len(order)]
