"""What a release will take here, said before it starts: minutes, disk and memory, roughly."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from exporter.checkpoint.contents import Checkpoint
from exporter.corpus.beir import Corpus
from exporter.format import PrecisionClass, precision_classes
from exporter.parity.pool import DEFAULT_FIRST, SAMPLE_DOCUMENTS
from exporter.parity.pool_time import WORTH_POOLING, mean_tokens
from exporter.recipe import Recipe
from exporter.release.exports import calibrates
from exporter.runtimes.encoder import TokenIds
from exporter.vectors.embed import Texts

BYTES_PER_WEIGHT: dict[PrecisionClass, float] = {
    "fp32": 4.0,
    "16bit": 2.0,
    "8bit": 1.1,
    "6bit": 0.9,
    "4bit": 0.75,
}
MATRIX = 1024
REPEATS = 5
# Measured with google/embeddinggemma-300m on two cores (`lawvault release`, Intel Xeon): what share
# of the machine's float32 matrix products an encoder reaches, seconds of a fitted export as passes
# over its calibration texts, and the peak of the whole process for each weight.
SHARE = 0.75
FITTING_PASSES = 5
FITTED_TOKENS = 60_000
PLAIN_EXPORT_SECONDS_PER_WEIGHT = 4e-8
MEMORY_PER_WEIGHT_BYTES = 11
MEMORY_FIXED_BYTES = 700_000_000
OVERLAPPING = 0.6
"""Of what questions choose for a pool: the rest is chosen by several."""


@dataclass(frozen=True)
class Estimate:
    """Seconds, bytes on disk, and bytes of memory at the peak. `pooled`: a pool will be judged."""

    seconds: float
    disk_bytes: float
    memory_bytes: float
    pooled: bool


def estimate(
    checkpoint: Checkpoint,
    recipe: Recipe,
    corpus: Corpus,
    *,
    tokens: TokenIds,
    operations_per_second: Callable[[], float],
) -> Estimate:
    """Return what a release of everything in `recipe` may take. Loads no model."""
    texts = Texts(corpus, checkpoint.prompts)
    weights = checkpoint.parameters
    embedded = sum(
        int(np.prod(t.shape)) for name, t in checkpoint.tensors.items() if "embed" in name
    )
    speed = SHARE * operations_per_second() / (2 * max(1, weights - embedded))
    each = mean_tokens(texts.unique, tokens) / speed
    encoders = 2 + len(recipe.artifacts)
    count, pooled = len(texts.unique), False
    seconds = encoders * count * each
    if recipe.pool or (recipe.pool is None and seconds > WORTH_POOLING):
        first = recipe.pool or DEFAULT_FIRST
        chosen = 2 * first * len(corpus.query_ids) * OVERLAPPING + SAMPLE_DOCUMENTS
        part = min(count, chosen + len(corpus.query_ids))
        seconds, pooled = count * each + (encoders - 1) * part * each, part < count
    fitted = sum(calibrates(spec) for spec in recipe.artifacts)
    seconds += fitted * FITTING_PASSES * FITTED_TOKENS / speed
    seconds += len(recipe.artifacts) * weights * PLAIN_EXPORT_SECONDS_PER_WEIGHT
    copies = [(1 + len(spec.packages), spec.scheme) for spec in recipe.artifacts]
    disk = sum(n * weights * BYTES_PER_WEIGHT[precision_classes()[scheme]] for n, scheme in copies)
    disk += encoders * count * checkpoint.dim * 4
    return Estimate(
        seconds=seconds,
        disk_bytes=disk,
        pooled=pooled,
        memory_bytes=weights * MEMORY_PER_WEIGHT_BYTES + MEMORY_FIXED_BYTES,
    )


def float32_operations_per_second() -> float:
    """Return how many operations of a float32 matrix product this machine does in a second."""
    a = np.random.default_rng(0).standard_normal((MATRIX, MATRIX)).astype(np.float32)
    a @ a
    took: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        a @ a
        took.append(time.perf_counter() - began)
    return float(2 * MATRIX**3 / np.median(took))


def in_words(found: Estimate, names: Sequence[str], corpus: Corpus) -> str:
    """Return one line for the terminal."""
    part = ", judged by a pool of it" if found.pooled else ""
    minutes = max(1, round(found.seconds / 60))
    long = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    return (
        f"{len(names)} files; {len(corpus.doc_ids):,} documents and {len(corpus.query_ids):,} "
        f"questions of {corpus.name}{part}: about {long}, {found.disk_bytes / 1e9:.1f} GB of disk, "
        f"{found.memory_bytes / 1e9:.1f} GB of memory"
    )
