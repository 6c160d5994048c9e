"""A LanceDB table, read block by block at one version; lancedb is used here and in lance_write."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput, MissingDependency, unknown_name
from exporter.index.records import Columns, IndexOrigin, parse_origin

Metric = Literal["l2", "cosine"]
Vectors = npt.NDArray[np.float32]

SUFFIX = ".lance"
BLOCK_ROWS = 8192
"""Read by offset, not as one stream: Lance reads ahead of a stream by up to 2 GB."""


@dataclass(frozen=True)
class VectorIndex:
    """An approximate index on the vector column. `distance`: l2, cosine or dot."""

    name: str
    kind: str
    distance: str
    unindexed_rows: int


class LanceTable:
    """A table at the version that it had when it was opened: a writer changes nothing here."""

    def __init__(self, table: Any, path: Path, *, columns: Columns) -> None:
        self._table = table
        self.path, self.name, self.columns = path, str(table.name), columns
        self.version, self.rows = int(table.version), int(table.count_rows())
        field = table.schema.field(columns.vector)
        self.dim = int(field.type.list_size)
        self.dtype: npt.DTypeLike = field.type.value_type.to_pandas_dtype()
        self.origin: IndexOrigin | None = parse_origin(field.metadata)
        self.where = f"'{path}' table '{self.name}'"

    def ids(self) -> Iterator[list[str]]:
        """Yield the ids, block by block in the table's own order."""
        for block in self._blocks([self.columns.id]):
            yield _strings(block, self.columns.id)

    def vectors(self) -> Iterator[tuple[list[str], Vectors]]:
        """Yield (ids, (n, dim) float32 rows as stored), block by block in the table's own order.

        Raises BadInput where a row has no vector.
        """
        for block in self._blocks([self.columns.id, self.columns.vector]):
            flat = block.column(self.columns.vector).combine_chunks().flatten()
            if len(flat) != block.num_rows * self.dim:
                raise BadInput(
                    f"{self.where} has rows without a vector in '{self.columns.vector}'; delete "
                    "them or embed them"
                )
            rows = flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
            yield _strings(block, self.columns.id), rows.reshape(-1, self.dim)

    def texts(
        self, *, limit: int | None = None
    ) -> Iterator[tuple[list[str], list[str], list[str]]]:
        """Yield (ids, titles, texts) of the first `limit` rows, or of all, block by block.

        "" where a title or text is null. Raises BadInput where no text column is known.
        """
        id_, title, text = self.columns.id, self.columns.title, self.columns.text
        if text is None:
            raise BadInput(f"{self.where}: no text column is known; pass --text-column")
        for block in self._blocks([name for name in (id_, title, text) if name], limit=limit):
            titles = [""] * block.num_rows if title is None else _strings(block, title)
            yield _strings(block, id_), titles, _strings(block, text)

    def _blocks(self, names: list[str], *, limit: int | None = None) -> Iterator[Any]:
        end = self.rows if limit is None else min(limit, self.rows)
        for start in range(0, end, BLOCK_ROWS):
            count = min(BLOCK_ROWS, end - start)
            with lance_errors(self.path):
                query = self._table.search().select(list(dict.fromkeys(names)))
                block = query.offset(start).limit(count).to_arrow()
            if block.num_rows != count:
                raise BadInput(
                    f"{self.where} gave {block.num_rows} rows instead of {count} at row {start}; "
                    "it is damaged"
                )
            yield block

    def vector_indexes(self) -> tuple[VectorIndex, ...]:
        """Return the approximate indexes on the vector column."""
        found = []
        with lance_errors(self.path):
            for config in self._table.list_indices():
                if list(config.columns) == [self.columns.vector]:
                    stats = self._table.index_stats(config.name)
                    found.append(
                        VectorIndex(
                            name=str(config.name), kind=str(stats.index_type),
                            distance=str(stats.distance_type or "l2"),
                            unindexed_rows=int(stats.num_unindexed_rows),
                        )
                    )  # fmt: skip
        return tuple(found)

    def search(
        self, queries: Vectors, *, metric: str, k: int = 10, exact: bool = False,
        nprobes: int | None = None, refine_factor: int | None = None,
    ) -> list[list[str]]:  # fmt: skip
        """Return the ids that LanceDB itself finds for each of (q, dim) queries, best first.

        Through the approximate index where there is one and not `exact`. Fewer than k where the
        index gives fewer.
        """
        found = []
        with lance_errors(self.path):
            for query in queries:
                asked = self._table.search(query, vector_column_name=self.columns.vector)
                asked = asked.distance_type(metric).limit(k)
                if exact:
                    asked = asked.bypass_vector_index()
                if nprobes is not None:
                    asked = asked.nprobes(nprobes)
                if refine_factor is not None:
                    asked = asked.refine_factor(refine_factor)
                rows = asked.select([self.columns.id, "_distance"]).to_arrow()
                found.append(_strings(rows, self.columns.id))
        return found

    def latest_version(self) -> int:
        """Return the version that the table has now, whatever version this one reads."""
        with lance_errors(self.path):
            return int(connect(self.path).open_table(self.name).version)


def open_table(
    path: Path, *, table: str, columns: Columns, metadata_columns: bool = True
) -> LanceTable:
    """Open `table` of the database folder `path`, or of a `NAME.lance` folder itself, to read.

    With `metadata_columns`, text and title columns not named are those its metadata names. Raises
    BadInput where there is no such database, table or column, a column holds something else, or
    the table is empty; MissingDependency without lancedb.
    """
    folder, name = _locate(path, table)
    with lance_errors(folder):
        opened = connect(folder).open_table(name)
        opened.checkout(opened.version)
    schema = opened.schema
    _check_vector(schema, columns.vector, where=f"'{path}' table '{name}'")
    origin = parse_origin(schema.field(columns.vector).metadata)
    if metadata_columns and columns.text is None and origin is not None:
        columns = columns.model_copy(
            update={"text": origin.columns.text, "title": origin.columns.title}
        )
    _check_columns(schema, columns, where=f"'{path}' table '{name}'")
    found = LanceTable(opened, folder, columns=columns)
    if not found.rows:
        raise BadInput(f"'{path}' table '{name}' is empty; there is nothing to search")
    return found


def tables_in(folder: Path) -> list[str]:
    """Return the names of the tables of a database folder, by their folders."""
    return sorted(p.name.removesuffix(SUFFIX) for p in folder.glob(f"*{SUFFIX}") if p.is_dir())


def _locate(path: Path, table: str) -> tuple[Path, str]:
    if "://" in str(path) or str(path).startswith(("s3:/", "gs:/", "az:/", "db:/")):
        raise BadInput(f"'{path}' is not a local folder; copy the table here first")
    if not path.exists():
        raise BadInput(f"no such index: '{path}'; pass the folder of a LanceDB database")
    if path.suffix == SUFFIX and path.is_dir():
        return path.resolve().parent, path.resolve().name.removesuffix(SUFFIX)
    tables = tables_in(path) if path.is_dir() else []
    if not tables:
        raise BadInput(
            f"'{path}' is no LanceDB database: it holds no folder NAME.lance; pass the folder "
            "that was given to lancedb.connect"
        )
    if table not in tables:
        raise BadInput(f"'{path}': {unknown_name('table', table, tables)}")
    return path.resolve(), table


def _check_vector(schema: Any, name: str, *, where: str) -> None:
    import pyarrow as pa

    if name not in schema.names:
        raise _no_column(name, schema, where=where)
    kind = schema.field(name).type
    if not (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)):
        others = [
            f.name for f in schema
            if pa.types.is_fixed_size_list(f.type) and pa.types.is_floating(f.type.value_type)
        ]  # fmt: skip
        hint = f"; pass --vector-column {others[0]}" if others else ""
        raise BadInput(f"{where}: column '{name}' holds {kind}, not vectors of one width{hint}")


def _check_columns(schema: Any, columns: Columns, *, where: str) -> None:
    import pyarrow as pa

    for name in (columns.id, columns.text, columns.title):
        if name is None:
            continue
        if name not in schema.names:
            raise _no_column(name, schema, where=where)
        kind = schema.field(name).type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not (text or (name == columns.id and pa.types.is_integer(kind))):
            wanted = "ids" if name == columns.id else "text"
            raise BadInput(f"{where}: column '{name}' holds {kind}, not {wanted}; name another")


def _no_column(name: str, schema: Any, *, where: str) -> BadInput:
    return BadInput(f"{where}: {unknown_name('column', name, schema.names)}")


def check_installed() -> Any:
    """Return the lancedb module. Raises MissingDependency without it."""
    try:
        import lancedb
    except ImportError as error:
        raise MissingDependency(error.name or "lancedb", extra="index") from None
    return lancedb


def connect(folder: Path) -> Any:
    """Return LanceDB's connection to a folder. Raises MissingDependency without lancedb."""
    return check_installed().connect(folder)


def origin_in(folder: Path, table: str) -> IndexOrigin | None:
    """Return what a table of whatever columns says it was made from, None where it does not."""
    with lance_errors(folder):
        schema = connect(folder).open_table(table).schema
    return next((found for f in schema if (found := parse_origin(f.metadata)) is not None), None)


@contextlib.contextmanager
def lance_errors(path: Path) -> Iterator[None]:
    """Turn what LanceDB raises into one line for people."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BadInput(
            f"LanceDB cannot read '{path}' ({reason}); if it is being written or compacted, wait "
            "for that and run again"
        ) from error


def _strings(block: Any, name: str) -> list[str]:
    return ["" if value is None else str(value) for value in block.column(name).to_pylist()]
