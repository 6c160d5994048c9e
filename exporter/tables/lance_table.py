"""A LanceDB table, read block by block at the version that it had when it was opened."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput
from exporter.tables.columns import Columns, IndexOrigin, parse_origin
from exporter.tables.connection import connect, lance_errors
from exporter.tables.vector_table import BLOCK_ROWS, VectorIndex, Vectors, filled


class LanceTable:
    """A table at the version that it had when it was opened: a writer changes nothing here.

    See `VectorTable`. Read by offset, not as one stream: Lance reads ahead of a stream by up to
    2 GB.
    """

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
        for block in self._blocks([self.columns.id]):
            yield _strings(block, self.columns.id)

    def vectors(self, *, missing: bool = False) -> Iterator[tuple[list[str], Vectors]]:
        for block in self._blocks([self.columns.id, self.columns.vector]):
            column = block.column(self.columns.vector).combine_chunks()
            flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
            yield (
                _strings(block, self.columns.id),
                filled(
                    flat,
                    np.asarray(column.is_valid()),
                    dim=self.dim,
                    where=self.where,
                    column=self.columns.vector,
                    missing=missing,
                ),
            )

    def texts(
        self, *, limit: int | None = None
    ) -> Iterator[tuple[list[str], list[str], list[str]]]:
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

    def whole(self) -> Iterator[Any]:
        """Yield all columns as Arrow tables, block by block in the table's own order."""
        return self._blocks(self.schema.names)

    @property
    def schema(self) -> Any:
        """Return the Arrow schema."""
        return self._table.schema

    def vector_indexes(self) -> tuple[VectorIndex, ...]:
        found = []
        with lance_errors(self.path):
            for config in self._table.list_indices():
                if list(config.columns) == [self.columns.vector]:
                    stats = self._table.index_stats(config.name)
                    found.append(
                        VectorIndex(
                            name=str(config.name),
                            kind=str(stats.index_type),
                            distance=str(stats.distance_type or "l2"),
                            unindexed_rows=int(stats.num_unindexed_rows),
                        )
                    )
        return tuple(found)

    def search(
        self,
        queries: Vectors,
        *,
        metric: str,
        k: int = 10,
        exact: bool = False,
        nprobes: int | None = None,
        refine_factor: int | None = None,
    ) -> list[list[str]]:
        """See `VectorTable`. Fewer than k where the index gives fewer."""
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
        with lance_errors(self.path):
            return int(connect(self.path).open_table(self.name).version)


def _strings(block: Any, name: str) -> list[str]:
    return ["" if value is None else str(value) for value in block.column(name).to_pylist()]
