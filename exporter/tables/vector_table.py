"""What is asked of a table of vectors, wherever it lies."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from exporter.tables.columns import Columns, IndexOrigin

Metric = Literal["l2", "cosine"]
Vectors = npt.NDArray[np.float32]

BLOCK_ROWS = 8192
"""Rows that are read at once: 25 MB of 768 float32."""


@dataclass(frozen=True)
class VectorIndex:
    """An approximate index on the vector column. `distance`: l2, cosine or dot."""

    name: str
    kind: str
    distance: str
    unindexed_rows: int


class VectorTable(Protocol):
    """A table of vectors, read block by block, at the version that it had when it was opened."""

    path: Path
    name: str
    where: str
    """As messages name it."""
    columns: Columns
    version: int
    rows: int
    dim: int
    dtype: npt.DTypeLike
    """As vectors are stored."""
    origin: IndexOrigin | None

    def ids(self) -> Iterator[list[str]]:
        """Yield the ids, block by block in the table's own order; "" where a row has none."""
        ...

    def vectors(self, *, missing: bool = False) -> Iterator[tuple[list[str], Vectors]]:
        """Yield (ids, (n, dim) float32 rows as stored), block by block in the table's own order.

        A row without a vector raises BadInput, or with `missing` comes as NaN.
        """
        ...

    def texts(
        self, *, limit: int | None = None
    ) -> Iterator[tuple[list[str], list[str], list[str]]]:
        """Yield (ids, titles, texts) of the first `limit` rows, or of all, block by block.

        "" where a title or text is null. Raises BadInput where no text column is known.
        """
        ...

    def vector_indexes(self) -> tuple[VectorIndex, ...]:
        """Return the approximate indexes on the vector column."""
        ...

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
        """Return the ids that the table's own engine finds for each of (q, dim) queries, best
        first: through the approximate index where there is one and not `exact`."""
        ...

    def latest_version(self) -> int:
        """Return the version that the table has now, whatever version this one reads."""
        ...


def filled(
    flat: Vectors, valid: npt.NDArray[np.bool_], *, dim: int, where: str, column: str, missing: bool
) -> Vectors:
    """Return (n, dim) rows, the values of those that are `valid` in `flat`, the rest NaN.

    Raises BadInput where one is not valid, unless `missing` allows it.
    """
    from exporter.errors import BadInput

    if valid.all():
        return flat.reshape(-1, dim)
    if not missing:
        raise BadInput(
            f"{where} has rows without a vector in '{column}'; delete them or embed them "
            "('lawvault doctor' names them)"
        )
    rows = np.full((len(valid), dim), np.nan, np.float32)
    rows[valid] = flat.reshape(-1, dim)
    return rows
