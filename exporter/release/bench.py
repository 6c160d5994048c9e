"""How fast artifacts are on this machine, side by side: interleaved rounds, medians."""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from exporter.corpus.calibration import read_calibration
from exporter.errors import BadInput
from exporter.formats.open import open_artifact
from exporter.hashing import sha256_file
from exporter.manifest import MANIFEST_NAME, read_manifest
from exporter.records import Record
from exporter.runtimes.alone import measure_alone
from exporter.runtimes.cores import core_count
from exporter.runtimes.encoder import Encoder

SHAPES: tuple[tuple[int, int], ...] = ((8, 128), (32, 64), (1, 24), (1, 128))
"""Texts, and tokens of each."""


class Timing(Record):
    """One shape. `milliseconds`: the median of a whole batch, tokenization included."""

    texts: int
    tokens: int
    milliseconds: float
    tokens_per_second: float


class BenchResult(Record):
    """One artifact. Load and peak memory are those of a process that does nothing else."""

    name: str
    manifest_sha256: str
    """Of the very artifact that was timed."""
    size_bytes: int
    load_seconds: float
    peak_memory_bytes: int
    timings: tuple[Timing, ...]


class BenchReport(Record):
    """All artifacts of one run, on one machine: compare within it only."""

    machine: str
    cores: int
    threads: int | None
    rounds: int
    results: tuple[BenchResult, ...]


def run_bench(
    folders: Sequence[Path],
    *,
    rounds: int = 5,
    threads: int | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> BenchReport:
    """Time the artifacts with the same texts, taking turns. Nothing else should run meanwhile.

    A text has as many tokens as its shape says, or one or two fewer where no cut fits. A model of
    a lower token limit is timed at its limit. Raises BadInput for what is no artifact.
    """
    if rounds < 1:
        raise BadInput(f"--rounds {rounds} measures nothing; give at least 1")
    manifests = [read_manifest(folder) for folder in folders]
    loads = []
    for folder, manifest in zip(folders, manifests, strict=True):
        on_progress(f"{manifest.name}: loading")
        loads.append(measure_alone(_open, folder, threads, what=f"'{folder}'"))
    encoders = [open_artifact(folder, threads=threads) for folder in folders]
    material = "".join(text.text for text in read_calibration(None))
    times: dict[tuple[int, int], list[list[float]]] = {}
    used: dict[tuple[int, int], list[int]] = {}
    for shape in SHAPES:
        texts = [_texts_of(encoder, material, *shape) for encoder in encoders]
        used[shape] = [sum(map(len, e.token_ids(t))) for e, t in zip(encoders, texts, strict=True)]
        found: list[list[float]] = [[] for _ in encoders]
        on_progress(f"{shape[0]} x {shape[1]} tokens: {rounds} rounds")
        for turn in range(rounds + 1):
            for at, (encoder, batch) in enumerate(zip(encoders, texts, strict=True)):
                began = time.perf_counter()
                encoder.encode(batch)
                if turn:  # the first warms up
                    found[at].append(time.perf_counter() - began)
        times[shape] = found
    for encoder in encoders:
        encoder.close()
    return BenchReport(
        machine=platform.machine(),
        cores=core_count(),
        threads=threads,
        rounds=rounds,
        results=tuple(
            BenchResult(
                name=manifest.name,
                manifest_sha256=sha256_file(folder / MANIFEST_NAME),
                size_bytes=manifest.size_bytes,
                load_seconds=load[0],
                peak_memory_bytes=load[1],
                timings=tuple(_timing(s, times[s][at], used[s][at]) for s in SHAPES),
            )
            for at, (folder, manifest, load) in enumerate(
                zip(folders, manifests, loads, strict=True)
            )
        ),
    )


def read_bench(path: Path) -> BenchReport | None:
    """Return what a bench wrote, None where there is no file. Raises BadInput for another file."""
    if not path.is_file():
        return None
    try:
        return BenchReport.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError:  # UnicodeDecodeError and ValidationError are
        raise BadInput(f"'{path}' is not what lawvault bench writes; remove it") from None


def _timing(shape: tuple[int, int], found: list[float], tokens: int) -> Timing:
    median = statistics.median(found)
    return Timing(
        texts=shape[0],
        tokens=shape[1],
        milliseconds=round(1e3 * median, 3),
        tokens_per_second=round(tokens / median, 1),
    )


def _texts_of(encoder: Encoder, material: str, count: int, tokens: int) -> list[str]:
    """Return different texts of about `tokens` tokens, special tokens included."""
    made = []
    for i in range(count):
        start = i * 37 % (len(material) // 2)
        low, high = 0, min(len(material) - start, 8 * tokens)
        while low < high:
            middle = (low + high + 1) // 2
            piece = material[start : start + middle]
            if len(encoder.token_ids([piece])[0]) <= tokens:
                low = middle
            else:
                high = middle - 1
        made.append(material[start : start + max(1, low)])
    return made


def _open(folder: Path, threads: int | None) -> Encoder:
    return open_artifact(folder, threads=threads)
