"""A GGUF in llama.cpp: texts one by one, and several in one decode.

    python -m benchmarks.llamacpp_batches --checkpoint FOLDER [--type q8_0] [--repeat 3]

The first 64 documents of the bundled corpus, rendered with the checkpoint's prompt. "As before" is
one text a decode, nothing else in it, with llama.cpp's default threads; "one by one" and "together"
are this project's encoder. They take turns, so that what disturbs one disturbs the others; printed
are medians, how far apart the vectors lie, and the most memory that "together" had.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.formats.gguf.llamacpp_kernels import kernels, with_buffers
from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.manifest import read_manifest
from exporter.parity.compare import row_cosines
from exporter.runtimes.alone import peak_memory
from exporter.runtimes.encoder import Vectors, unit_rows
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
        # In a process of its own: its memory is not what is measured here.
        command = [sys.executable, "-m", "exporter", "export", "gguf", "--quiet"]
        command += ["--checkpoint", str(arguments.checkpoint), "--type", arguments.type]
        subprocess.run([*command, "--output", str(folder)], check=True, stdout=subprocess.DEVNULL)
        manifest = read_manifest(folder)
        print(f"{manifest.name}, {manifest.size_bytes / 1e6:.0f} MB; kernels: {kernels()}")
        with closing(LlamaCppEncoder(folder, threads=arguments.threads)) as encoder:
            compare(
                encoder,
                texts,
                folder / manifest.entry,
                repeat=arguments.repeat,
                threads=arguments.threads,
            )


def compare(
    encoder: LlamaCppEncoder, texts: Sequence[str], path: Path, *, repeat: int, threads: int | None
) -> None:
    """Print a table of the three ways to run `texts`, timed by turns."""
    rows = encoder.token_ids(texts)
    tokens = sum(map(len, rows))
    encoder.encode(texts)
    print(f"{len(texts)} texts, {tokens:,} tokens; peak memory {peak_memory() / 1e6:,.0f} MB\n")
    with with_buffers(llama_cpp, extra=False):
        llama = llama_cpp.Llama(
            str(path),
            embedding=True,
            n_ctx=2048,
            n_batch=2048,
            n_ubatch=2048,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )
    bare(llama, rows[:2])
    ways: dict[str, Callable[[], Vectors]] = {
        "as before": lambda: bare(llama, rows),
        "one by one": lambda: np.concatenate([encoder.encode([text]) for text in texts]),
        "together": lambda: encoder.encode(texts),
    }
    vectors: dict[str, Vectors] = {}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeat):
        for way, run in ways.items():
            began = time.perf_counter()
            vectors[way] = run()
            seconds[way].append(time.perf_counter() - began)
    print("| texts | seconds, median | tokens/s | 1 - cosine to together, worst |")
    print("| --- | --- | --- | --- |")
    for way, found in seconds.items():
        median = statistics.median(found)
        apart = max(0.0, float((1 - row_cosines(vectors[way], vectors["together"])).max()))
        print(f"| {way} | {median:.2f} | {tokens / median:,.0f} | {apart:.1e} |")


def bare(llama: Any, rows: Sequence[Sequence[int]]) -> Vectors:
    """Return (n, dim) unit rows, each text decoded by itself with nothing between."""
    vectors = []
    for row in rows:
        llama._batch.reset()
        llama._batch.add_sequence(row, 0, True)
        llama._ctx.kv_cache_clear()
        llama._ctx.decode(llama._batch)
        pooled = llama_cpp.llama_get_embeddings_seq(llama._ctx.ctx, 0)
        vectors.append(np.ctypeslib.as_array(pooled, (llama.n_embd(),)).copy())
    return unit_rows(np.stack(vectors), [""] * len(rows), dim=None, source="llama.cpp")


if __name__ == "__main__":
    main()
