"""Codes and their grid -> the bytes of ggml's blocks.

The layouts are those of ggml/src/ggml-common.h in https://github.com/ggml-org/ggml;
`gguf.quants.dequantize` reads them back, and gives `BlockGrid.values` to the bit.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from exporter.formats.gguf.grids import BlockGrid, fit_grid
from exporter.formats.gguf.types import QTYPE

Bytes = npt.NDArray[np.uint8]


def pack_codes(codes: npt.NDArray[np.integer], grid: BlockGrid) -> Bytes:
    """Return the bytes of a matrix. codes: (rows, columns), as `BlockGrid.values` takes them.

    Returns (rows, bytes of a row) uint8. Raises ValueError for codes or integer scales that the
    format has no bits for.
    """
    layout = grid.layout
    _check(codes, layout.low, layout.high, what="codes")
    _check(grid.sub, layout.sub_low, layout.sub_high, what="scales")
    _check(grid.sub_min, 0, max(1, layout.sub_high), what="offsets")
    block, size = gguf.GGML_QUANT_SIZES[grid.ggml_type]
    # Signed codes are stored from 0 on, but for 8 bits.
    stored = codes if grid.ggml_type is QTYPE.Q8_0 else codes.astype(np.int16) - layout.low
    fields = _PACKERS[grid.ggml_type](
        stored.astype(np.int8).view(np.uint8).reshape(-1, block), grid
    )
    made = np.concatenate(fields, axis=1)
    assert made.shape[1] == size, (grid.ggml_type, made.shape)
    return made.reshape(len(codes), -1)


def pack_nearest(
    values: npt.NDArray[np.float32],
    ggml_type: gguf.GGMLQuantizationType,
    *,
    importance: npt.NDArray[np.float32] | None = None,
) -> Bytes:
    """Return the bytes of `values` rounded to the nearest of a grid fitted to them.

    The arguments and errors are those of `grids.fit_grid`; returns (rows, bytes of a row) uint8.
    """
    grid = fit_grid(values, ggml_type, importance=importance)
    return pack_codes(grid.nearest(values), grid)


def _check(values: npt.NDArray[np.integer], low: int, high: int, *, what: str) -> None:
    if values.size and not (low <= int(values.min()) and int(values.max()) <= high):
        raise ValueError(
            f"{what} reach from {values.min()} to {values.max()}, the format from {low} to {high}"
        )


def _q8_0(codes: Bytes, grid: BlockGrid) -> list[Bytes]:
    return [_halves(grid.d), codes]


def _four_bits(codes: Bytes, grid: BlockGrid) -> list[Bytes]:
    return [_halves(grid.d), *_minima(grid), _nibbles(codes, together=32)]


def _five_bits(codes: Bytes, grid: BlockGrid) -> list[Bytes]:
    high = np.packbits(codes >> 4, axis=-1, bitorder="little")
    return [_halves(grid.d), *_minima(grid), high, _nibbles(codes, together=32)]


def _q4_k(codes: Bytes, grid: BlockGrid) -> list[Bytes]:
    return [
        _halves(grid.d),
        _halves(grid.dmin),
        _six_bit_scales(grid),
        _nibbles(codes, together=64),
    ]


def _q5_k(codes: Bytes, grid: BlockGrid) -> list[Bytes]:
    # Bit g of byte i is the fifth of code i of group g.
    fifth = codes.reshape(len(codes), 8, 32) >> 4
    high = np.packbits(fifth, axis=1, bitorder="little").reshape(len(codes), 32)
    return [
        _halves(grid.d),
        _halves(grid.dmin),
        _six_bit_scales(grid),
        high,
        _nibbles(codes, together=64),
    ]


def _q6_k(codes: Bytes, grid: BlockGrid) -> list[Bytes]:
    low = _nibbles(codes, together=128)
    quarters = (codes >> 4).reshape(len(codes), 2, 4, 32)  # two bits of four codes share a byte
    high = joined([quarters[:, :, i] << np.uint8(2 * i) for i in range(4)])
    subs = grid.sub.astype(np.int8).view(np.uint8).reshape(len(codes), 16)
    return [low, high.reshape(len(codes), 64), subs, _halves(grid.d)]


def joined(parts: Sequence[npt.NDArray[Any]]) -> Bytes:
    """Return the bits of all `parts`, which share none."""
    found: Bytes = np.bitwise_or.reduce(parts)
    return found


def _nibbles(codes: Bytes, *, together: int) -> Bytes:
    """Return the low four bits of two codes a byte: the first half of each `together` codes lies in
    the low, the second in the high nibble."""
    halves = (codes & 0x0F).reshape(len(codes), -1, 2, together // 2)
    return joined([halves[:, :, 0], halves[:, :, 1] << np.uint8(4)]).reshape(len(codes), -1)


def _minima(grid: BlockGrid) -> list[Bytes]:
    """Return what Q4_1 and Q5_1 add: the negative of the offset."""
    return [_halves(-grid.dmin)] if grid.layout.offsets else []


def _six_bit_scales(grid: BlockGrid) -> Bytes:
    """Return scales and offsets of eight groups in twelve bytes: four of each whole, then the rest
    as nibbles, whose upper two bits lie in the upper two bits of the first."""
    sub, least = (part.astype(np.uint8).reshape(-1, 8) for part in (grid.sub, grid.sub_min))
    return np.concatenate(
        [
            sub[:, :4] | (sub[:, 4:] >> 4 << 6),
            least[:, :4] | (least[:, 4:] >> 4 << 6),
            (sub[:, 4:] & 0x0F) | (least[:, 4:] << 4),
        ],
        axis=1,
    )


def _halves(values: npt.NDArray[np.float16]) -> Bytes:
    return np.ascontiguousarray(values).reshape(-1, 1).view(np.uint8)


_PACKERS: dict[gguf.GGMLQuantizationType, Callable[[Bytes, BlockGrid], list[Bytes]]] = {
    QTYPE.Q8_0: _q8_0,
    QTYPE.Q4_0: _four_bits,
    QTYPE.IQ4_NL: _four_bits,
    QTYPE.Q4_1: _four_bits,
    QTYPE.Q5_0: _five_bits,
    QTYPE.Q5_1: _five_bits,
    QTYPE.Q4_K: _q4_k,
    QTYPE.Q5_K: _q5_k,
    QTYPE.Q6_K: _q6_k,
}
