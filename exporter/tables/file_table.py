"""Vectors in a Parquet file, or in a .npy file beside a file of ids and texts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from exporter.corpus.lines import read_records
from exporter.errors import BadInput, reason_of, require, unknown_name
from exporter.tables.columns import Columns, IndexOrigin
from exporter.tables.vector_table import BLOCK_ROWS, VectorIndex, Vectors, filled

ID, TEXT, TITLE = "_id", "text", "title"
"""What columns are called in files where nobody says: as in BEIR's corpus.jsonl."""


class _FileTable:
    """What both have in common: one version, no index, no engine of their own."""

    def __init__(self, path: Path, *, columns: Columns) -> None:
        self.path, self.name, self.where, self.columns = path, path.name, f"'{path}'", columns
        self.version = 1
        self.origin: IndexOrigin | None = None
        self._state = _state(path)

    def vector_indexes(self) -> tuple[VectorIndex, ...]:
        return ()

    def search(
        self,
        queries: Vectors,
        *,
        metric: str,
        k: int = 10,
        exact: bool = False,
        nprobes: int | None = None,
        refine_factor: int | None = None,
    ) -> NoReturn:
        """Raise: a file is searched by nobody but this tool, which reads its vectors."""
        raise BadInput(f"{self.where} is a file, which has no search of its own")

    def latest_version(self) -> int:
        return 1 if _state(self.path) == self._state else 2


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class ParquetTable(_FileTable):
    """A Parquet file with a column of vectors, lists of one width. See `VectorTable`."""

    def __init__(self, path: Path, *, columns: Columns, file: Any) -> None:
        super().__init__(path, columns=columns)
        self._file = file
        self.rows = int(file.metadata.num_rows)
        if not self.rows:
            raise BadInput(f"{self.where} is empty; there is nothing to search")
        self.dim, self.dtype = self._width()

    def _width(self) -> tuple[int, npt.DTypeLike]:
        kind = self._file.schema_arrow.field(self.columns.vector).type
        width = getattr(kind, "list_size", 0)
        if not width:
            first = next(
                (
                    row
                    for block in self._blocks([self.columns.vector])
                    for row in block.column(0)
                    if row.is_valid
                ),
                None,
            )
            width = 0 if first is None else len(first)
        if not width:
            raise BadInput(f"{self.where}: no row has a vector in '{self.columns.vector}'")
        return int(width), kind.value_type.to_pandas_dtype()

    def ids(self) -> Iterator[list[str]]:
        for block in self._blocks([self.columns.id]):
            yield _strings(block.column(0))

    def vectors(self, *, missing: bool = False) -> Iterator[tuple[list[str], Vectors]]:
        start = 0
        for block in self._blocks([self.columns.id, self.columns.vector]):
            ids, column = _strings(block.column(self.columns.id)), block.column(self.columns.vector)
            valid = np.asarray(column.is_valid())
            flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
            lengths = np.asarray(column.drop_null().value_lengths())
            if (lengths != self.dim).any():
                at = int(np.flatnonzero(valid)[np.flatnonzero(lengths != self.dim)[0]])
                raise BadInput(
                    f"{self.where}: row {start + at} ('{ids[at]}') has a vector of "
                    f"{int(lengths[lengths != self.dim][0])} dimensions, the first has {self.dim}"
                )
            yield (
                ids,
                filled(
                    flat,
                    valid,
                    dim=self.dim,
                    where=self.where,
                    column=self.columns.vector,
                    missing=missing,
                ),
            )
            start += block.num_rows

    def texts(
        self, *, limit: int | None = None
    ) -> Iterator[tuple[list[str], list[str], list[str]]]:
        id_, title, text = self.columns.id, self.columns.title, self.columns.text
        if text is None:
            raise BadInput(f"{self.where}: no text column is known; pass --text-column")
        left = self.rows if limit is None else limit
        for block in self._blocks([name for name in (id_, title, text) if name]):
            taken = block.slice(0, left)
            titles = [""] * taken.num_rows if title is None else _strings(taken.column(title))
            yield _strings(taken.column(id_)), titles, _strings(taken.column(text))
            left -= taken.num_rows
            if left <= 0:
                return

    def _blocks(self, names: list[str]) -> Iterator[Any]:
        try:
            yield from self._file.iter_batches(BLOCK_ROWS, columns=list(dict.fromkeys(names)))
        except OSError as error:
            raise BadInput(f"{self.where} cannot be read ({_line(error)}); it is damaged") from None


def open_parquet(path: Path, columns: Columns) -> ParquetTable:
    """Open a Parquet file. `columns.text` and `.title`, where None, are `text` and `title` if the
    file has those. Raises BadInput; MissingDependency without pyarrow."""
    require("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"'{path}' is no Parquet file ({_line(error)})") from None
    schema = file.schema_arrow
    columns = _with_usual_names(columns, schema.names)
    for name, holds in (
        (columns.id, ("ids", lambda t: _is_text(pa, t) or pa.types.is_integer(t))),
        (columns.vector, ("vectors", lambda t: _is_vectors(pa, t))),
        (columns.text, ("text", lambda t: _is_text(pa, t))),
        (columns.title, ("text", lambda t: _is_text(pa, t))),
    ):
        if name is None:
            continue
        if name not in schema.names:
            raise BadInput(
                f"'{path}': {unknown_name('column', name, schema.names)}; name the column of the "
                f"{holds[0]}"
            )
        kind = schema.field(name).type
        if not holds[1](kind):
            raise BadInput(f"'{path}': column '{name}' holds {kind}, not {holds[0]}; name another")
    return ParquetTable(path, columns=columns, file=file)


def _is_text(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_vectors(pa: Any, kind: Any) -> bool:
    lists = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    return any(held(kind) for held in lists) and bool(pa.types.is_floating(kind.value_type))


def _with_usual_names(columns: Columns, names: list[str]) -> Columns:
    usual = {"text": TEXT, "title": TITLE}
    found = {
        key: name for key, name in usual.items() if getattr(columns, key) is None and name in names
    }
    return columns.model_copy(update=found)


class NpyTable(_FileTable):
    """(n, dim) vectors in a .npy file, row i that of record i of a JSON lines file.

    See `VectorTable`. The vectors stay on disk; ids and texts are held.
    """

    def __init__(
        self,
        path: Path,
        *,
        columns: Columns,
        vectors: Any,
        ids: list[str],
        titles: list[str],
        texts: list[str],
    ) -> None:
        super().__init__(path, columns=columns)
        self._vectors, self._ids, self._titles, self._texts = vectors, ids, titles, texts
        self.rows, self.dim = (int(n) for n in vectors.shape)
        self.dtype: npt.DTypeLike = vectors.dtype

    def ids(self) -> Iterator[list[str]]:
        for start in range(0, self.rows, BLOCK_ROWS):
            yield self._ids[start : start + BLOCK_ROWS]

    def vectors(self, *, missing: bool = False) -> Iterator[tuple[list[str], Vectors]]:
        del missing  # a row of a matrix is always there
        for start in range(0, self.rows, BLOCK_ROWS):
            block = np.array(self._vectors[start : start + BLOCK_ROWS], np.float32)
            yield self._ids[start : start + BLOCK_ROWS], block

    def texts(
        self, *, limit: int | None = None
    ) -> Iterator[tuple[list[str], list[str], list[str]]]:
        end = self.rows if limit is None else min(limit, self.rows)
        for start in range(0, end, BLOCK_ROWS):
            part = slice(start, min(start + BLOCK_ROWS, end))
            yield self._ids[part], self._titles[part], self._texts[part]


def open_npy(path: Path, columns: Columns, *, texts: Path | None) -> NpyTable:
    """Open a .npy file with its ids and texts: `texts`, or the file NAME.jsonl beside it, whose
    keys are those that `columns` names. Raises BadInput."""
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadInput(f"'{path}' is no .npy file of numbers ({_line(error)})") from None
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
        raise BadInput(
            f"'{path}' holds {vectors.dtype} of the shape {vectors.shape}, not rows of vectors"
        )
    file = texts or path.with_suffix(".jsonl")
    if not file.is_file():
        raise BadInput(
            f"'{path}' needs its ids and texts: '{file}' is missing; pass --texts FILE.jsonl, "
            f"one object a row with {columns.id} and {columns.text or TEXT}"
        )
    columns = columns.model_copy(
        update={"text": columns.text or TEXT, "title": columns.title or TITLE}
    )
    ids, titles, held = [], [], []
    for line, record in read_records(file):
        found = record.get(columns.id)
        if found is None:
            raise BadInput(
                f"'{file}' line {line}: {unknown_name('key', columns.id, record)}; name the key of "
                "the ids with --id-column"
            )
        ids.append(str(found))
        titles.append(str(record.get(str(columns.title)) or ""))
        held.append(str(record.get(str(columns.text)) or ""))
    if len(ids) != len(vectors):
        raise BadInput(
            f"'{file}' has {len(ids):,} records, '{path}' {len(vectors):,} rows; each row "
            "needs its record"
        )
    return NpyTable(path, columns=columns, vectors=vectors, ids=ids, titles=titles, texts=held)


def _strings(column: Any) -> list[str]:
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _line(error: Exception) -> str:
    return reason_of(error)[:200]
