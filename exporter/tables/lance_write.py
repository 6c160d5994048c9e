"""Write a LanceDB table that says what it was made from, add rows to it, index it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput
from exporter.tables.columns import METADATA_KEY, IndexOrigin
from exporter.tables.connection import SUFFIX, connect, lance_errors

LEAST_ROWS_FOR_PQ = 256
"""Product quantization trains 2^8 centroids a sub-vector, each of which needs a row."""

Row = tuple[list[str], list[str], list[str], npt.NDArray[np.float32]]
"""ids, titles, texts and (n, dim) vectors of some documents."""


def create_table(folder: Path, *, table: str, origin: IndexOrigin, rows: Iterable[Row]) -> Path:
    """Write a new table below `folder`, an empty one. Returns the table's own folder.

    `origin` goes into the metadata of the vector column. Memory holds one block of rows.
    """
    import pyarrow as pa

    schema = _schema(origin)
    reader = pa.RecordBatchReader.from_batches(schema, _batches(schema, rows))
    with lance_errors(folder):
        connect(folder).create_table(table, reader, schema=schema)
    return folder / f"{table}{SUFFIX}"


def add_rows(folder: Path, *, table: str, origin: IndexOrigin, rows: Iterable[Row]) -> None:
    """Add documents in one transaction, then say in the metadata what the table now holds.

    An approximate index on it takes in the new rows.
    """
    import pyarrow as pa

    schema = _schema(origin)
    with lance_errors(folder):
        opened = connect(folder).open_table(table)
        opened.add(pa.RecordBatchReader.from_batches(schema, _batches(schema, rows)))
        if opened.list_indices():
            opened.optimize()
    write_origin(folder, table=table, origin=origin)


def write_origin(folder: Path, *, table: str, origin: IndexOrigin) -> None:
    """Replace what the table says about itself."""
    with lance_errors(folder):
        connect(folder).open_table(table).update_field_metadata(
            {
                "path": origin.columns.vector,
                "metadata": {METADATA_KEY.decode(): origin.model_dump_json()},
            }
        )


def index_vectors(folder: Path, *, table: str, origin: IndexOrigin) -> None:
    """Build an IVF-PQ index with LanceDB's own defaults, for L2."""
    from lancedb.index import IvfPq

    with lance_errors(folder):
        opened = connect(folder).open_table(table)
        opened.create_index(origin.columns.vector, config=IvfPq(distance_type="l2"))


def check_rows_for_pq(rows: int) -> None:
    """Raise BadInput where so few rows cannot train a product quantizer."""
    if rows < LEAST_ROWS_FOR_PQ:
        raise BadInput(
            f"{rows} documents are too few for --ivf-pq, which needs {LEAST_ROWS_FOR_PQ}; leave it "
            "out, so small a table is searched exactly in no time"
        )


def _schema(origin: IndexOrigin) -> Any:
    import pyarrow as pa

    columns = origin.columns
    assert columns.title is not None and columns.text is not None
    return pa.schema(
        [
            pa.field(columns.id, pa.string()),
            pa.field(columns.title, pa.string()),
            pa.field(columns.text, pa.string()),
            pa.field(
                columns.vector,
                pa.list_(pa.float32(), origin.space.dim),
                metadata={METADATA_KEY: origin.model_dump_json().encode()},
            ),
        ]
    )


def _batches(schema: Any, rows: Iterable[Row]) -> Iterator[Any]:
    import pyarrow as pa

    for ids, titles, texts, vectors in rows:
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
        cells = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        yield pa.record_batch([pa.array(ids), pa.array(titles), pa.array(texts), cells], schema)
