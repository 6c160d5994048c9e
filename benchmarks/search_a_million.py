"""Exact search over a million documents of 768 dimensions: memory, and speed against the machine's.

    python -m benchmarks.search_a_million [--documents 1000000] [--queries 1000] [--folder /tmp]

Random rows are put into a vector cache as parity keeps it, mapped from disk and searched for ten
documents a question, as parity does. Printed: the seconds each step takes, the peak of the memory
that is the process's own (RssAnon; pages of the mapped file are the system's cache), and the
products a second beside those of one plain matrix product on the same machine in the same run.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporter.vectors.cache import opened, text_keys
from exporter.vectors.rows import BLOCK_ROWS, Rows
from exporter.vectors.search import BLOCK_QUERIES, search

DIM = 768
IDENTITY = {"kind": "random"}


class PeakMemory:
    """The largest RssAnon in MB seen while the block ran (Linux)."""

    def __enter__(self) -> "PeakMemory":
        self.peak, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, anonymous_mb())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def anonymous_mb() -> float:
    """Return this process's own resident memory in MB, files not counted."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1e3
    raise SystemExit("this benchmark reads /proc/self/status, which this system lacks")


def random_rows(count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return (count, DIM) float32 rows of length 1."""
    rows = rng.standard_normal((count, DIM), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def fill(folder: Path, documents: int) -> None:
    """Write random rows to the cache, a few thousand at a time."""
    rng = np.random.default_rng(0)
    with opened(folder, identity=IDENTITY, dim=DIM) as cache:
        for start in range(0, documents, BLOCK_ROWS):
            count = min(BLOCK_ROWS, documents - start)
            keys = text_keys([str(i) for i in range(start, start + count)])
            cache.append(keys, random_rows(count, rng))


def product_speed() -> float:
    """Return the GFLOP/s of a float32 product of the size that the search uses, median of 9."""
    rng = np.random.default_rng(1)
    a, b = random_rows(BLOCK_QUERIES, rng), random_rows(BLOCK_ROWS, rng)
    seconds = []
    for _ in range(9):
        began = time.perf_counter()
        a @ b.T
        seconds.append(time.perf_counter() - began)
    return 2 * len(a) * len(b) * DIM / float(np.median(seconds)) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where 3 GB fit; default: the temporary folder")
    arguments = parser.parse_args()
    queries = random_rows(arguments.queries, np.random.default_rng(2))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        began = time.perf_counter()
        with PeakMemory() as memory:
            fill(folder, arguments.documents)
        print(
            f"written: {arguments.documents:,} rows in {time.perf_counter() - began:.1f} s, "
            f"own memory at most {memory.peak:,.0f} MB"
        )
        began = time.perf_counter()
        with PeakMemory() as memory, opened(folder, identity=IDENTITY, dim=DIM) as cache:
            places = cache.places(text_keys([str(i) for i in range(arguments.documents)]))
            vectors = cache.vectors()
        assert (places >= 0).all()
        print(
            f"opened, checked and looked up: {time.perf_counter() - began:.1f} s, own memory at "
            f"most {memory.peak:,.0f} MB"
        )
        print("| documents | own memory, MB | seconds | GFLOP/s | plain product | share |")
        print("| --- | --- | --- | --- | --- | --- |")
        for part in (16, 4, 1):
            rows = Rows(vectors, places[: arguments.documents // part], DIM, "random")
            plain = product_speed()
            before = anonymous_mb()
            began = time.perf_counter()
            with PeakMemory() as memory:
                search(queries, rows)
            seconds = time.perf_counter() - began
            speed = 2 * len(queries) * len(rows) * DIM / seconds / 1e9
            print(
                f"| {len(rows):,} | {before:,.0f} + {memory.peak - before:,.0f} | {seconds:.1f} "
                f"| {speed:.0f} | {plain:.0f} | {speed / plain:.0%} |"
            )


if __name__ == "__main__":
    main()
