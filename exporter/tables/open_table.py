"""Open a table that may be anyone's: where it is, and whether its columns hold what they should."""

from pathlib import Path
from typing import Any

from exporter.errors import BadInput, unknown_name
from exporter.tables.columns import Columns, IndexOrigin, parse_origin
from exporter.tables.connection import SUFFIX, connect, lance_errors
from exporter.tables.file_table import ID, open_npy, open_parquet
from exporter.tables.lance_table import LanceTable
from exporter.tables.vector_table import VectorTable

PARQUET, NPY = ".parquet", ".npy"


def usual_id(path: Path) -> str:
    """Return what the column of ids is called where nobody says."""
    return ID if path.suffix in (PARQUET, NPY) else Columns().id


def open_vectors(
    path: Path, *, table: str, columns: Columns, texts: Path | None = None
) -> VectorTable:
    """Open vectors that exist: a LanceDB table, a .parquet file, or a .npy file with its `texts`.

    `table` is for LanceDB alone. Raises BadInput and MissingDependency as `open_table`,
    `open_parquet` and `open_npy` do.
    """
    if texts is not None and path.suffix != NPY:
        raise BadInput(f"--texts goes with a .npy file; '{path}' holds its own texts")
    if path.suffix in (PARQUET, NPY):
        if not path.is_file():
            raise BadInput(f"no such file: '{path}'")
        if path.suffix == PARQUET:
            return open_parquet(path, columns)
        return open_npy(path, columns, texts=texts)
    return open_table(path, table=table, columns=columns)


def open_table(
    path: Path,
    *,
    table: str,
    columns: Columns,
    metadata_columns: bool = True,
    version: int | None = None,
) -> LanceTable:
    """Open `table` of the database folder `path`, or of a `NAME.lance` folder itself, to read.

    `version`: the newest for None. With `metadata_columns`, text and title columns not named are
    those its metadata names. Raises BadInput where there is no such database, table, version or
    column, a column holds something else, or the table is empty; MissingDependency without lancedb.
    """
    folder, name = _locate(path, table)
    with lance_errors(folder):
        opened = connect(folder).open_table(name)
        opened.checkout(version or opened.version)
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


def holds_tables(place: Path) -> bool:
    """Return whether a path is a LanceDB database with tables, or one of its tables."""
    return place.is_dir() and (place.suffix == SUFFIX or bool(tables_in(place)))


def _locate(path: Path, table: str) -> tuple[Path, str]:
    if "://" in str(path) or str(path).startswith(("s3:/", "gs:/", "az:/", "db:/")):
        raise BadInput(f"'{path}' is not a local folder; copy the table here first")
    if not path.exists():
        raise BadInput(
            f"no such index: '{path}'; pass the folder of a LanceDB database, a "
            ".parquet or a .npy file"
        )
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
            f.name
            for f in schema
            if pa.types.is_fixed_size_list(f.type) and pa.types.is_floating(f.type.value_type)
        ]
        hint = f"; pass --vector-column {others[0]}" if others else ""
        if pa.types.is_fixed_size_list(kind) and pa.types.is_integer(kind.value_type):
            bits = kind.value_type.bit_width
            raise BadInput(
                f"{where}: column '{name}' holds codes of {bits} bits, from which vectors cannot "
                f"be made again{hint or '; embed the texts again (lawvault index)'}"
            )
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


def origin_in(folder: Path, table: str) -> IndexOrigin | None:
    """Return what a table of whatever columns says it was made from, None where it does not.

    `folder`: of the database, or the table's own. Raises BadInput where there is none.
    """
    folder, table = _locate(folder, table)
    with lance_errors(folder):
        schema = connect(folder).open_table(table).schema
    return next((found for f in schema if (found := parse_origin(f.metadata)) is not None), None)
