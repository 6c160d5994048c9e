"""A LanceDB table that holds vectors in every width and codec, to be searched in every way."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.tables.codecs import signs, unit
from exporter.tables.connection import SUFFIX, connect, lance_errors
from exporter.tables.index_size import CANDIDATES, Way, components_of
from exporter.vectors.codes import coded
from exporter.vectors.rows import BLOCK_ROWS, Vectors

ROW, WHOLE, CODES, SCALE = "row", "whole", "codes", "scale"
TABLE, INDEX = "vectors", "tried"
SHOWN = 10
ITEM_BYTES = {"float32": 4, "float16": 2}


class SizedStore:
    """vectors: (n, dim) float32 of length 1. `folder`: of the database, new. Searched by inner
    product, which ranks rows of length 1 as cosine and L2 do."""

    def __init__(self, folder: Path, vectors: Vectors, dims: tuple[int, ...]) -> None:
        self._folder, (self._rows, self._full) = folder, vectors.shape
        with lance_errors(folder):
            schema, batches = _schema(self._full, dims), _batches(vectors, dims)
            self._table = connect(folder).create_table(TABLE, batches(), schema=schema)
        self._indexed: tuple[int, str, float] | None = None

    def prepare(self, way: Way) -> tuple[float, float, float]:
        """Build what a way searches through, unless the way before had the same. Returns bytes a
        document scanned and stored, and the seconds it took to build."""
        seconds = 0.0
        column = 0.0
        if way.codec in ITEM_BYTES:
            scanned = float(ITEM_BYTES[way.codec] * way.dim)
        elif way.codec == "binary":
            scanned = float(-(-way.dim // 8))
        else:
            if self._indexed is None or self._indexed[:2] != (way.dim, way.codec):
                seconds = self._build(way)
            assert self._indexed is not None
            scanned, column = self._indexed[2], float(4 * way.dim)
        held = way.dim == self._full and (column > 0 or way.codec == "float32")
        copies = {"none": 0, "float32": 0 if held else 4 * self._full, "int8": self._full + 4}
        return scanned, scanned + column + copies[way.copy_of], seconds

    def search(self, way: Way, question: Vectors) -> list[int]:
        """Return the ten rows that a way finds for one (dim,) question, best first; fewer where an
        index gives fewer."""
        asked = unit(question[None], way.dim)[0]
        rescored = way.copy_of != "none"
        copy = {"none": [], "float32": [WHOLE], "int8": [CODES, SCALE]}[way.copy_of]
        with lance_errors(self._folder):
            if way.codec == "binary":
                found = self._query(signs(asked[None])[0], _bits(way.dim), "hamming")
            elif way.codec == "float16":
                found = self._query(asked.astype(np.float16), _halves(way.dim), "dot")
            else:
                found = self._query(asked, _floats(way.dim, self._full), "dot")
            if way.codec in ITEM_BYTES:
                found = found.bypass_vector_index()
            if way.codec == "int8":
                found = found.nprobes(1)
            limit = CANDIDATES if rescored else SHOWN
            table = found.select([ROW, "_distance", *copy]).limit(limit).to_arrow()
        rows = table.column(ROW).to_numpy()
        if rescored and len(rows):
            rows = rows[_best(table, question, way)]
        return [int(row) for row in rows]

    def _query(self, asked: Any, column: str, metric: str) -> Any:
        return self._table.search(asked, vector_column_name=column).distance_type(metric)

    def _build(self, way: Way) -> float:
        from lancedb.index import HnswSq, IvfPq, IvfSq

        kind = way.codec.partition("/")[0]
        configs = {
            "int8": lambda: IvfSq(distance_type="dot", num_partitions=1),
            "IVF-SQ": lambda: IvfSq(distance_type="dot"),
            "HNSW-SQ": lambda: HnswSq(distance_type="dot"),
            "IVF-PQ": lambda: IvfPq(
                distance_type="dot", num_sub_vectors=way.dim // components_of(way.codec)
            ),
        }
        before = set(self._parts())
        began = time.perf_counter()
        with lance_errors(self._folder):
            if self._indexed is not None:
                self._table.drop_index(INDEX)
            self._table.create_index(
                _floats(way.dim, self._full), config=configs[kind](), name=INDEX
            )
        seconds = time.perf_counter() - began
        written = sum(size for part, size in self._parts().items() if part not in before)
        self._indexed = (way.dim, way.codec, written / self._rows)
        return seconds

    def _parts(self) -> dict[Path, int]:
        indices = self._folder / f"{TABLE}{SUFFIX}" / "_indices"
        return {file: file.stat().st_size for file in indices.rglob("*") if file.is_file()}


def _best(table: Any, question: Vectors, way: Way) -> npt.NDArray[np.int64]:
    """Return the places of the ten candidates nearest to the whole question, by the copy."""
    name = WHOLE if way.copy_of == "float32" else CODES
    flat = table.column(name).combine_chunks().flatten().to_numpy()
    scores = flat.reshape(table.num_rows, -1).astype(np.float32) @ question
    if way.copy_of == "int8":
        scores = scores * table.column(SCALE).to_numpy()
    order: npt.NDArray[np.int64] = np.lexsort((table.column(ROW).to_numpy(), -scores))[:SHOWN]
    return order


def _floats(dim: int, full: int) -> str:
    return WHOLE if dim == full else f"float32_{dim}"


def _halves(dim: int) -> str:
    return f"float16_{dim}"


def _bits(dim: int) -> str:
    return f"binary_{dim}"


def _schema(full: int, dims: tuple[int, ...]) -> Any:
    import pyarrow as pa

    fields = [
        pa.field(ROW, pa.int64()),
        pa.field(WHOLE, pa.list_(pa.float32(), full)),
        pa.field(CODES, pa.list_(pa.int8(), full)),
        pa.field(SCALE, pa.float32()),
    ]
    for dim in dims:
        if dim != full:
            fields.append(pa.field(_floats(dim, full), pa.list_(pa.float32(), dim)))
        fields.append(pa.field(_halves(dim), pa.list_(pa.float16(), dim)))
        fields.append(pa.field(_bits(dim), pa.list_(pa.uint8(), -(-dim // 8))))
    return pa.schema(fields)


def _batches(vectors: Vectors, dims: tuple[int, ...]) -> Any:
    import pyarrow as pa

    full = vectors.shape[1]
    schema = _schema(full, dims)

    def cells(values: npt.NDArray[Any]) -> Any:
        flat = pa.array(np.ascontiguousarray(values).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])

    def made() -> Iterator[Any]:
        for start in range(0, len(vectors), BLOCK_ROWS):
            block = vectors[start : start + BLOCK_ROWS]
            scale, codes = coded(block, bits=8)
            columns = {
                ROW: pa.array(np.arange(start, start + len(block))),
                WHOLE: cells(block),
                CODES: cells(codes.astype(np.int8)),
                SCALE: pa.array(scale),
            }
            for dim in dims:
                cut = unit(block, dim)
                columns[_floats(dim, full)] = cells(block if dim == full else cut)
                columns[_halves(dim)] = cells(cut.astype(np.float16))
                columns[_bits(dim)] = cells(signs(cut))
            yield pa.record_batch([columns[name] for name in schema.names], schema)

    return made
