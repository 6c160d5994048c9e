"""What a Ray cluster of this machine adds and costs, and what a document costs the one who calls.

    python -m benchmarks.cluster ARTIFACT --checkpoint FOLDER --corpus FOLDER
        [--documents N] [--rounds N] [--caller-documents N] [--output FOLDER]

Documents a second of the artifact: on this machine as it is, by one worker of all its CPUs, by two
of half of them each; vectors must be the same bits. A round is each of them once, with a cache of
its own; medians of rounds. Then what is left to the caller, whatever the workers do: seconds and
bytes of memory a document of hashing, keeping and writing rows, by an engine that gives random
vectors. Writes cluster.md.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.machine import about, lines
from exporter.checkpoint.read import read_checkpoint
from exporter.cluster.engine import RayEngine
from exporter.cluster.nodes import Workers
from exporter.corpus.beir import read_documents
from exporter.formats.open import artifact_source
from exporter.manifest import read_manifest
from exporter.progress import Progress, silent
from exporter.runtimes.encoder import Source, Vectors
from exporter.tables.build import build_index
from exporter.tables.columns import Columns
from exporter.vectors.embed import Engine, embed_each, encode_here

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--caller-documents", type=int, default=200_000)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.artifact)
    checkpoint = read_checkpoint(arguments.checkpoint, prompts=manifest.prompts)
    documents = read_documents(arguments.corpus)
    texts = [manifest.prompts.render_document(text, title=t) for t, text in documents.values()]
    texts = list(dict.fromkeys(texts))[: arguments.documents]
    cpus = os.cpu_count() or 1
    ways: dict[str, Engine] = {
        "this machine, no cluster": encode_here,
        f"one worker of {cpus} CPUs": RayEngine(workers=Workers(1, cpus)),
        f"two workers of {cpus // 2} CPUs": RayEngine(workers=Workers(2, max(1, cpus // 2))),
    }
    source = artifact_source(arguments.artifact)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    bits = set()
    for turn in range(arguments.rounds):
        for name, engine in ways.items():
            begun, done, rows = timed(source, texts, engine)
            bits.add(rows)
            seconds[name].append((begun, done))
            print(f"round {turn + 1}: {name}: {begun:.1f} + {done:.1f} s", flush=True)
    if len(bits) > 1:
        raise SystemExit("the ways gave other vectors: this is a defect")
    count = arguments.caller_documents
    few, many = caller_of(arguments.artifact, count), caller_of(arguments.artifact, 3 * count)
    caller, memory, kept = ((b - a) / (2 * count) for a, b in zip(few, many, strict=True))
    alone = statistics.median(done for _, done in seconds["this machine, no cluster"])
    table = [
        f"| {name} | {statistics.median(b for b, _ in found):.1f} | "
        f"{len(texts) / statistics.median(d for _, d in found):.1f} | "
        f"{alone / statistics.median(d for _, d in found):.2f} |"
        for name, found in seconds.items()
    ]
    text = "\n".join(
        [
            "# A cluster of one machine, and what a document costs its caller",
            "",
            f"{manifest.name} of {manifest.model_name}, {len(texts):,} distinct documents of "
            f"{arguments.corpus.name}, medians of {arguments.rounds} rounds. Start: until the first"
            " text is encoded (Ray, the model, its proof). All ways gave the same bits.",
            "",
            "| way | start, s | documents a second | of no cluster |",
            "| --- | ---: | ---: | ---: |",
            *table,
            "",
            f"The caller, from {count:,} to {3 * count:,} documents of a few characters and random "
            f"vectors of {manifest.dim} components: {1e6 * caller:.0f} microseconds and "
            f"{memory:,.0f} bytes of memory a document, {kept:,.0f} bytes on disk in cache and "
            "table together.",
            "",
            *lines(about(checkpoint, sys.argv[1:])),
            "",
        ]
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "cluster.md").write_text(text, "utf-8")
    print(text)


def timed(source: Source, texts: Sequence[str], engine: Engine) -> tuple[float, float, bytes]:
    """Return (seconds until the first text, seconds after, all vectors)."""
    begun: list[float] = []

    def start(label: str, total: int) -> Progress:
        begun.append(time.perf_counter())
        return silent(label, total)

    with tempfile.TemporaryDirectory() as folder:
        first = time.perf_counter()
        rows = embed_each(source, texts, cache=Path(folder), start=start, engine=engine)
        last = time.perf_counter()
        return begun[0] - first, last - begun[0], rows.block(0, len(rows)).tobytes()


def caller_of(artifact: Path, count: int) -> tuple[float, float, float]:
    """Return (seconds, bytes of memory, bytes on disk) of so many documents, in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure_caller, artifact, count).result()


def measure_caller(artifact: Path, count: int) -> tuple[float, float, float]:
    """Return (seconds, most bytes of memory, bytes on disk) of building a table of documents whose
    vectors are random."""
    rng = np.random.default_rng(0)

    def random(
        source: Source, shards: Sequence[Sequence[str]], *, begin: Callable[[], Progress]
    ) -> Generator[tuple[int, Vectors], None, None]:
        begin()
        for place, texts in enumerate(shards):
            rows = rng.standard_normal((len(texts), source.dim), dtype=np.float32)
            yield place, rows / np.linalg.norm(rows, axis=1, keepdims=True)

    documents = {f"d{i:09d}": ("", f"document {i}") for i in range(count)}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "db"
        began = time.perf_counter()
        build_index(
            artifact,
            documents,
            corpus="random",
            output=output,
            table="t",
            columns=Columns(id="id", vector="vector", text="text", title="title"),
            cache=Path(folder) / "vectors",
            stages=silent,
            engine=random,
        )
        seconds = time.perf_counter() - began
        kept = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
    return seconds, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, kept


if __name__ == "__main__":
    main()
