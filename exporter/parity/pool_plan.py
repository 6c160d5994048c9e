"""Whether a corpus is judged whole or by a pool, who chooses the pool, and how long both take."""

from collections.abc import Callable, Sequence
from pathlib import Path

from exporter.corpus.beir import Corpus
from exporter.parity.pool import DEFAULT_FIRST, SAMPLE_DOCUMENTS, Pool, choose_pool
from exporter.parity.pool_time import WORTH_POOLING, EncodingSpeed, may_be_long, measure_speeds
from exporter.progress import Stages
from exporter.recipe import Recipe
from exporter.runtimes.encoder import Original, Source
from exporter.vectors.embed import Texts, embed_texts

CHOOSER_ADVANTAGE = 2.0
"""How many times faster than torch bf16 an artifact must be to choose in its place: with torch bf16
as chooser the reference's own figures are those of the whole corpus."""


def plan_pool(
    corpus: Corpus,
    sources: Sequence[Source],
    *,
    original: Original,
    texts: Texts,
    recipe: Recipe,
    dims: Sequence[int],
    cache: Path,
    stages: Stages,
    tell: Callable[[str], None],
    sample: int = SAMPLE_DOCUMENTS,
) -> Pool | None:
    """Return the pool that `recipe.pool` asks for, or that a long run needs; None for the whole.

    The chooser embeds the whole corpus into `cache`. sources: the artifacts'; texts: of the whole
    corpus. What is decided, and how long it takes, is told.
    """
    first = recipe.pool
    if first == 0:
        return None
    encoders = 2 + len(sources)
    speeds: list[EncodingSpeed] = []
    if may_be_long(
        texts.unique, encoders, tokens=original.tokens, weights=original.checkpoint.parameters
    ):
        speeds = measure_speeds(
            original.used,
            [original.truth, *sources],
            texts.unique,
            tokens=original.tokens,
            cache=cache,
            stages=stages,
        )
    whole = sum(speed.seconds for speed in speeds)
    if first is None and whole <= WORTH_POOLING:
        return None
    chooser = choose_chooser(speeds, original=original, sources=sources)
    if speeds:
        tell(
            f"pooled: the whole corpus would take about {minutes(whole)} here; "
            "--pool 0 embeds it all"
        )
    rows = embed_texts(chooser, texts.unique, cache=cache, start=stages)
    pool = choose_pool(
        corpus,
        texts,
        texts.spread(rows),
        first=first or DEFAULT_FIRST,
        dims=dims,
        seed=recipe.seed,
        sample=sample,
    )
    if pool is None:
        tell("pooled: the pool would hold every document, so the corpus is judged whole")
        return None
    chosen = pool.record
    left = ""
    if speeds:
        share = (chosen.documents + len(corpus.query_ids)) / len(texts.all)
        others = share * sum(s.seconds for s in speeds if s.source is not chooser)
        left = f"; about {minutes(others)} from here"
    tell(
        f"pooled: {chosen.documents:,} of {len(corpus.doc_ids):,} documents: the first "
        f"{chosen.first} of each question by {chosen.chooser} and by BM25, the judged ones, "
        f"{chosen.drawn} at random{left}"
    )
    return pool


def choose_chooser(
    speeds: Sequence[EncodingSpeed], *, original: Original, sources: Sequence[Source]
) -> Source:
    """Return torch bf16, or the artifact that is through with the corpus in half its time.

    speeds: of torch bf16 first; empty where nothing was timed.
    """
    if not speeds:
        return original.used
    able = [s for s in speeds if s.trusted and any(s.source is artifact for artifact in sources)]
    fastest = min(able, key=lambda s: s.seconds, default=speeds[0])
    if fastest.seconds * CHOOSER_ADVANTAGE < speeds[0].seconds:
        return fastest.source
    return original.used


def minutes(seconds: float) -> str:
    """Return `64 minutes`, or `1 minute` for anything shorter."""
    count = max(1, round(seconds / 60))
    return f"{count:,} minute{'s' if count > 1 else ''}"
