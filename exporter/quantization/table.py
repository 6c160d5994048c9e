"""The embedding table in 8 bits: blocks of a row share a float16 scale."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.table import Table
from exporter.quantization.pairs import TINY
from exporter.quantization.rotate import largest_block

BLOCK = 128  # at most as many weights share a scale

Floats = npt.NDArray[np.float32]
Coded = tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]


def table_block(table: Table) -> int:
    """Return how many weights of a row share a scale: a power of two that divides the width."""
    return largest_block(table.shape[1], BLOCK)


def table_unit(table: Table) -> np.float32:
    """Return the unit of the scales: in units of the largest, float16 holds them whatever the
    table's size."""
    return np.float32(max(table.largest, TINY) / 127)


def coded_rows(table: Table, *, unit: np.float32) -> Iterator[Coded]:
    """Yield the stored rows in turn, some at a time: codes (n, width) and scales (n, width /
    block). A weight is code * scale * unit."""
    block = table_block(table)
    for values in table.blocks():
        yield _coded(values, block=block, unit=unit)


def table_rounding(table: Table) -> Callable[[Floats], Floats]:
    """Return what turns rows of the table, (n, width), into what 8 bits leave of them."""
    block, unit = table_block(table), table_unit(table)

    def rounded(rows: Floats) -> Floats:
        codes, scales = _coded(rows, block=block, unit=unit)
        wide = scales.astype(np.float32).repeat(block, axis=1)
        made: Floats = codes * (wide * unit)
        return made

    return rounded


def table_codes(table: Table) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16], np.float32]:
    """Return all codes (rows, width), all scales (rows, parts), and their unit."""
    unit = table_unit(table)
    codes = np.empty(table.shape, np.int8)
    scales = np.empty((table.shape[0], table.shape[1] // table_block(table)), np.float16)
    start = 0
    for some, found in coded_rows(table, unit=unit):
        stop = start + len(some)
        codes[start:stop], scales[start:stop] = some, found
        start = stop
    return codes, scales, unit


def _coded(values: Floats, *, block: int, unit: np.float32) -> Coded:
    scaled = values.reshape(-1, block) / unit
    found = _rounded_up(np.abs(scaled).max(axis=1) / np.float32(127))
    codes = np.rint(scaled / found.astype(np.float32)[:, None]).clip(-127, 127)
    return codes.astype(np.int8).reshape(len(values), -1), found.reshape(len(values), -1)


def _rounded_up(scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Round up to float16, so that nothing is clipped; at least its least normal value."""
    rounded = np.maximum(scales, np.float32(2.0**-14)).astype(np.float16)
    low = rounded.astype(np.float32) < scales
    return np.where(low, np.nextafter(rounded, np.float16(np.inf)), rounded)
