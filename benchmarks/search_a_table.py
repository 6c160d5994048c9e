"""Exact search of a LanceDB table of a million rows: time and memory.

    python -m benchmarks.search_a_table [--rows 1000000] [--queries 200] [--folder /tmp]

Random rows of 768 float32 are written to a table, which is then read and searched as `parity
--index` does: once for ids and sound vectors, once for the ten nearest by L2 and by cosine. Printed
are the seconds and the most memory that is the process's own (RssAnon).
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa

from benchmarks.search_a_million import DIM, PeakMemory, anonymous_mb, random_rows
from exporter.tables.columns import Columns
from exporter.tables.open_table import open_table
from exporter.tables.search import scan_table, search_table
from exporter.tables.vector_table import BLOCK_ROWS

SCHEMA = pa.schema([("chunk_id", pa.string()), ("vector", pa.list_(pa.float32(), DIM))])


def batches(rows: int) -> Iterator[pa.RecordBatch]:
    """Yield random rows of length 1, block by block."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, BLOCK_ROWS):
        count = min(BLOCK_ROWS, rows - start)
        ids = pa.array([f"law-{i * 7919 % rows:09}" for i in range(start, start + count)])
        flat = pa.array(random_rows(count, rng).ravel())
        cells = pa.FixedSizeListArray.from_arrays(flat, DIM)
        yield pa.record_batch([ids, cells], SCHEMA)


def ignore(done: int) -> None:
    """Take no notice of progress."""
    del done


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where 3 GB fit; default: the temporary folder")
    given = parser.parse_args()
    queries = random_rows(given.queries, np.random.default_rng(2))
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        reader = pa.RecordBatchReader.from_batches(SCHEMA, batches(given.rows))
        lancedb.connect(temporary).create_table("laws_vectors", reader, schema=SCHEMA)
        table = open_table(Path(temporary), table="laws_vectors", columns=Columns())
        print(f"written: {table.rows:,} rows; own memory now {anonymous_mb():,.0f} MB")
        began = time.perf_counter()
        with PeakMemory() as memory:
            scan = scan_table(table, progress=ignore)
        print(
            f"read and checked: {time.perf_counter() - began:.1f} s, own memory at most "
            f"{memory.peak:,.0f} MB"
        )
        began = time.perf_counter()
        with PeakMemory() as memory:
            search_table(table, scan, {"": queries}, progress=ignore)
        seconds = time.perf_counter() - began
        print(
            f"searched for {given.queries:,} questions by L2 and cosine: {seconds:.1f} s, own "
            f"memory at most {memory.peak:,.0f} MB"
        )


if __name__ == "__main__":
    main()
