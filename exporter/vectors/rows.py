"""Rows of vectors that are read block by block, so that a million of them need not be in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput

Vectors = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

BLOCK_ROWS = 8192
"""25 MB of 768 float32: large enough for a matrix product, small beside any index."""

UNIT_TOLERANCE = 1e-5
"""How far a length computed in float32 may be from 1; a sum of 768 squares is off by 1e-6."""


@dataclass(frozen=True)
class Rows:
    """`places[i]` says which row of `vectors` belongs to text i; one row may serve several.

    vectors: (stored, width) float32, in memory or mapped from a file. places: (n,).
    `dim`: how many components count. `source` names the encoder in errors. A place of -1 - j is row
    j of `patch`, (patched, width): a few rows that differ from a table too large to copy.
    """

    vectors: Vectors
    places: Places
    dim: int
    source: str
    patch: Vectors | None = None

    def __len__(self) -> int:
        return len(self.places)

    def cut(self, dim: int) -> "Rows":
        """Return the same rows with `dim` components. Raises BadInput where there are fewer."""
        if not 0 < dim <= self.vectors.shape[1]:
            raise BadInput(
                f"dim {dim} is not between 1 and {self.vectors.shape[1]}, the width of "
                f"{self.source}"
            )
        return replace(self, dim=dim)

    def take(self, which: Places | slice) -> "Rows":
        """Return some of the rows, in the order of `which`."""
        return replace(self, places=self.places[which])

    def block(self, start: int, stop: int) -> Vectors:
        """Return (stop - start, dim) float32 rows of length 1. Raises BadInput where a row is
        zero or not finite."""
        rows = self._stored(self.places[start:stop])
        # In float32 first: several times as fast, and stored rows nearly always have length 1.
        rough = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        if np.abs(rough - 1).max(initial=0) <= UNIT_TOLERANCE:
            return rows
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
        if bad.size:
            raise BadInput(
                f"row {start + int(bad[0])} of {self.source} is not finite or is zero; "
                "it cannot be searched"
            )
        unit: Vectors = (rows / norms[:, None]).astype(np.float32)
        return unit

    def _stored(self, places: Places) -> Vectors:
        first, last = int(places[0]), int(places[-1])
        if first >= 0 and last - first == len(places) - 1 and (np.diff(places) == 1).all():
            # Neighbours on disk are used where they lie.
            return np.asarray(self.vectors[first : last + 1, : self.dim], np.float32)
        patched = places < 0
        rows = np.empty((len(places), self.dim), np.float32)
        rows[~patched] = self.vectors[places[~patched], : self.dim]
        if self.patch is not None:
            rows[patched] = self.patch[-1 - places[patched], : self.dim]
        return rows

    def blocks(self, *, size: int = BLOCK_ROWS) -> Iterator[tuple[int, Vectors]]:
        """Yield (start, rows of length 1) over all rows."""
        for start in range(0, len(self), size):
            yield start, self.block(start, min(start + size, len(self)))


def as_rows(vectors: "Vectors | Rows", *, source: str = "vectors") -> Rows:
    """Return an array (n, dim) as Rows; Rows are returned as they are."""
    if isinstance(vectors, Rows):
        return vectors
    if vectors.ndim != 2:
        raise ValueError(f"not a table of vectors: shape {vectors.shape}")
    return Rows(vectors, np.arange(len(vectors)), vectors.shape[1], source)
