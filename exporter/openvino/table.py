"""The embedding table in 8 bits: blocks of a row share a float16 scale."""

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import TensorInfo
from exporter.checkpoint.safetensors_file import largest_magnitude, read_row_blocks
from exporter.quantization.pairs import TINY

BLOCK = 128  # at most as many weights share a scale
BLOCK_BYTES = 1 << 24


def table_codes(
    table: TensorInfo,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16], np.float32]:
    """Return codes (rows, width), scales (rows, parts), and the unit of the scales: a weight is
    code * scale * unit. In units of the largest, float16 holds scales whatever the table's size."""
    rows, width = table.shape
    block = BLOCK
    while width % block:
        block //= 2
    unit = np.float32(max(largest_magnitude(table), TINY) / 127)
    codes = np.empty((rows, width), np.int8)
    scales = np.empty((rows, width // block), np.float16)
    start = 0
    for values in read_row_blocks(table, block_bytes=BLOCK_BYTES):
        stop = start + len(values)
        scaled = values.reshape(-1, block) / unit
        found = _rounded_up(np.abs(scaled).max(axis=1) / np.float32(127))
        made = np.rint(scaled / found.astype(np.float32)[:, None]).clip(-127, 127)
        codes[start:stop] = made.reshape(-1, width)
        scales[start:stop] = found.reshape(-1, width // block)
        start = stop
    return codes, scales, unit


def _rounded_up(scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Round up to float16, so that nothing is clipped; at least its least normal value."""
    rounded = np.maximum(scales, np.float32(2.0**-14)).astype(np.float16)
    low = rounded.astype(np.float32) < scales
    return np.where(low, np.nextafter(rounded, np.float16(np.inf)), rounded)
