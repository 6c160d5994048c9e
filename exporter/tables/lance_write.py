"""Write a LanceDB table that says what it was made from, add rows to it, index it."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput
from exporter.progress import Stages
from exporter.tables.columns import METADATA_KEY, IndexOrigin
from exporter.tables.connection import SUFFIX, connect, lance_errors
from exporter.tables.lance_table import LanceTable
from exporter.vectors.rows import Rows

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


def overwrite_vectors(
    table: LanceTable, *, origin: IndexOrigin, vectors: Rows, stages: Stages
) -> int:
    """Commit a version whose vectors are `vectors`, (rows, dim) in the order of the table's rows,
    with what made them in its metadata; all other columns as in the version that is read.

    Returns its number. Files of older versions stay. Memory holds one block of rows.
    """
    import pyarrow as pa

    name = table.columns.vector
    at = table.schema.get_field_index(name)
    field = pa.field(
        name,
        pa.list_(pa.float32(), vectors.dim),
        metadata={
            **(table.schema.field(name).metadata or {}),
            METADATA_KEY: origin.model_dump_json().encode(),
        },
    )
    schema = table.schema.set(at, field)
    progress = stages("table written", table.rows)

    def batches() -> Iterator[Any]:
        start = 0
        for block in table.whole():
            rows = vectors.block(start, start + block.num_rows)
            start += block.num_rows
            yield from block.set_column(at, field, _cells(rows)).cast(schema).to_batches()
            progress(block.num_rows)

    with lance_errors(table.path):
        reader = pa.RecordBatchReader.from_batches(schema, batches())
        made = connect(table.path).create_table(table.name, reader, schema=schema, mode="overwrite")
        return int(made.version)


def merge_rows(
    source: LanceTable, ids: Sequence[str], vectors: Rows, *, gone: Sequence[str]
) -> None:
    """Bring the rows `ids` of `source`, an older version, into the newest with these vectors, in
    the order of `ids`; take the rows `gone` out."""
    import pyarrow as pa

    columns = source.columns
    with lance_errors(source.path):
        newest = connect(source.path).open_table(source.name)
        schema = newest.schema
        at = schema.get_field_index(columns.vector)
        wanted = {name: row for row, name in enumerate(ids)}
        for block in source.whole():
            names = [str(value) for value in block.column(columns.id).to_pylist()]
            here = [row for row, name in enumerate(names) if name in wanted]
            if not here:
                continue
            rows = vectors.take(np.asarray([wanted[names[row]] for row in here], np.int64))
            cells = _cells(rows.block(0, len(here)))
            part = block.take(pa.array(here)).set_column(at, schema.field(at), cells)
            merge = newest.merge_insert(columns.id)
            merge = merge.when_matched_update_all().when_not_matched_insert_all()
            merge.execute(part.cast(schema))
        for name in gone:
            quoted = name.replace("'", "''")
            newest.delete(f"`{columns.id}` = '{quoted}'")


def versions_of(table: LanceTable) -> set[int]:
    """Return the versions that can still be read."""
    with lance_errors(table.path):
        opened = connect(table.path).open_table(table.name)
        return {int(version["version"]) for version in opened.list_versions()}


def restore_version(table: LanceTable, version: int) -> int:
    """Commit a version that is as `version` was. Returns its number."""
    with lance_errors(table.path):
        opened = connect(table.path).open_table(table.name)
        opened.checkout(version)
        opened.restore()
        return int(opened.version)


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
        arrays = [pa.array(ids), pa.array(titles), pa.array(texts), _cells(vectors)]
        yield pa.record_batch(arrays, schema)


def _cells(vectors: npt.NDArray[np.float32]) -> Any:
    """Return (n, dim) rows as an Arrow column."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
