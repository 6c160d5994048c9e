"""A GGUF in llama.cpp: texts one by one, and several in one decode.

    python -m benchmarks.llamacpp_batches --checkpoint FOLDER [--type q8_0] [--repeat 3]

The first 64 documents of the bundled corpus, rendered with the checkpoint's prompt. "As before" is
one text a decode and nothing else in it; "one by one" and "together" are this project's encoder.
They take turns, so that what disturbs one disturbs the others; printed are medians, how far apart
the vectors lie, and the most memory the process had.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.gguf.export import export_gguf
from exporter.parity.compare import row_cosines
from exporter.runtimes.alone import peak_memory
from exporter.runtimes.encoder import Vectors, unit_rows
from exporter.runtimes.llamacpp import LlamaCppEncoder
from exporter.runtimes.llamacpp_kernels import kernels
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE

TEXTS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=MINIATURE)
    parser.add_argument("--type", default="q8_0")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    checkpoint, corpus = read_checkpoint(arguments.checkpoint), read_corpus(BUNDLED_CORPUS)
    texts = [
        checkpoint.prompts.render_document(text, title=title)
        for title, text in zip(corpus.titles[:TEXTS], corpus.texts, strict=False)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "gguf"
        manifest = export_gguf(checkpoint, folder, type_name=arguments.type)
        with closing(LlamaCppEncoder(folder, threads=arguments.threads)) as encoder:
            compare(encoder, texts, repeat=arguments.repeat, megabytes=manifest.size_bytes / 1e6)


def compare(
    encoder: LlamaCppEncoder, texts: Sequence[str], *, repeat: int, megabytes: float
) -> None:
    """Print a table of the three ways to run `texts`, timed by turns."""
    rows = encoder.token_ids(texts)
    tokens = sum(map(len, rows))
    ways: dict[str, Callable[[], Vectors]] = {
        "as before": lambda: bare(encoder, rows),
        "one by one": lambda: np.concatenate([encoder.encode([text]) for text in texts]),
        "together": lambda: encoder.encode(texts),
    }
    vectors: dict[str, Vectors] = {}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    encoder.encode(texts[:2])  # pages of the file are read, threads started
    for _ in range(repeat):
        for way, run in ways.items():
            began = time.perf_counter()
            vectors[way] = run()
            seconds[way].append(time.perf_counter() - began)
    print(f"{megabytes:.0f} MB, {len(texts)} texts, {tokens:,} tokens; kernels: {kernels()}")
    print(f"peak memory {peak_memory() / 1e6:,.0f} MB\n")
    print("| texts | seconds, median | tokens/s | 1 - cosine to together, worst |")
    print("| --- | --- | --- | --- |")
    for way, found in seconds.items():
        median = statistics.median(found)
        apart = max(0.0, float((1 - row_cosines(vectors[way], vectors["together"])).max()))
        print(f"| {way} | {median:.2f} | {tokens / median:,.0f} | {apart:.1e} |")


def bare(encoder: LlamaCppEncoder, rows: Sequence[Sequence[int]]) -> Vectors:
    """Return (n, dim) unit rows, each text decoded by itself with nothing between."""
    context, batch = encoder._llama._ctx, encoder._llama._batch
    vectors = []
    for row in rows:
        batch.reset()
        batch.add_sequence(row, 0, True)
        context.kv_cache_clear()
        context.decode(batch)
        vectors.append(encoder._pooled(0))
    return unit_rows(np.stack(vectors), [""] * len(rows), dim=None, source=encoder.name)


if __name__ == "__main__":
    main()
