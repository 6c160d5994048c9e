"""The embedding table, whole or cut to a vocabulary."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.safetensors_file import TensorInfo, largest_magnitude, read_row_blocks

BLOCK_BYTES = 1 << 24
"""How much of it is in memory at a time, as float32."""


@dataclass(frozen=True)
class Table:
    """The embedding table as an artifact stores it: all rows of `info`, or those of `only`."""

    info: TensorInfo
    only: npt.NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Return (rows, width) of what is stored."""
        rows, width = self.info.shape
        return (rows if self.only is None else len(self.only)), width

    def blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the stored rows in turn, some at a time, (n, width)."""
        yield from read_row_blocks(self.info, block_bytes=BLOCK_BYTES, only=self.only)

    def parts(self, rows: int) -> list["Table"]:
        """Return it in pieces of at most so many rows, in order."""
        if self.shape[0] <= rows:
            return [self]
        ids = np.arange(self.info.shape[0]) if self.only is None else self.only
        return [Table(self.info, ids[start : start + rows]) for start in range(0, len(ids), rows)]

    @property
    def largest(self) -> float:
        """Return the largest magnitude of all rows, whether stored or not: what scales follow from
        must not depend on the vocabulary, and neither do vectors then."""
        return largest_magnitude(self.info)
