"""The embedding lookup in plain operators: browsers lack GatherBlockQuantized on the CPU."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.table import Table
from exporter.formats.onnx.graph_writer import FLOAT, GraphWriter
from exporter.quantization.blocks import BLOCK, BlockMatrix, quantize_table_rows
from exporter.quantization.table import Coded, coded_rows, table_block, table_unit

Codes = npt.NDArray[np.uint8]

NIBBLE = 4
PLANES = {3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2)}
"""Bits of a code -> how they are split, the lowest first, so that each part divides a byte."""


def lookup_int8(
    writer: GraphWriter,
    table: Table,
    ids: str,
    *,
    scale: float,
    reason: str = "",
    coded: Iterable[Coded] | None = None,
) -> str:
    """Add the lookup of `ids`, times `scale`, in 8 bits, up to 128 weights a scale. Returns
    (batch, sequence, hidden) float32. `coded`: the rows' codes, made here for None."""
    rows, width = table.shape
    block, unit = table_block(table), table_unit(table)
    parts = width // block
    scales: list[npt.NDArray[np.float16]] = []

    def blocks() -> Iterator[npt.NDArray[np.int8]]:
        for codes, found in coded_rows(table, unit=unit) if coded is None else coded:
            scales.append(found)
            yield codes

    bits = 8 + 16 / block
    weight = writer.streamed(
        "embed_tokens", blocks(), (rows, width), np.int8, bits=bits, reason=reason
    )
    scale_table = writer.weight(
        "embed_tokens_scale", np.concatenate(scales), reason=f"scale of {block} table weights"
    )
    codes = writer.node("Gather", [weight, ids], axis=0)
    values = writer.node("Cast", [codes], to=FLOAT)
    split = writer.node("Reshape", [values, writer.constant([0, 0, parts, block], np.int64)])
    gathered = row_scales(writer, scale_table, ids)
    scaling = writer.node("Mul", [gathered, writer.constant(unit * scale, np.float32)])
    scaling = writer.node("Unsqueeze", [scaling, writer.constant([-1], np.int64)])
    scaled = writer.node("Mul", [split, scaling])
    found: str = writer.node("Reshape", [scaled, writer.constant([0, 0, width], np.int64)])
    return found


def lookup_blocks(
    writer: GraphWriter,
    table: Table,
    ids: str,
    *,
    scale: float,
    bits: int,
    kind: int,
    reason: str,
    coded: Iterable[BlockMatrix] | None = None,
) -> str:
    """Add the lookup of `ids`, times `scale`, in 3 to 6 bits, 32 weights a scale and zero point.

    Runs of columns share a byte (`pack_runs`); bits that no byte is a multiple of are split among
    two tensors (`PLANES`). Returns (batch, sequence, hidden) in the element type `kind`. `coded`:
    the rows' codes, made here for None.
    """
    rows, width = table.shape
    parts = -(-width // BLOCK)
    # Scales are stored in units of the largest: float16 holds them whatever the table's size.
    unit = max(table.largest, 1e-30) / 2 ** (bits - 1)
    scales: list[npt.NDArray[np.float16]] = []
    zeros: list[Codes] = []
    high: list[Codes] = []
    low, *upper = PLANES[bits]
    packed_zeros = bits <= NIBBLE

    def blocks() -> Iterator[Codes]:
        for found in _quantized(table, bits) if coded is None else coded:
            scales.append((found.scales / np.float32(unit)).astype(np.float16))
            zeros.append(pack_runs(found.zeros, bits=NIBBLE) if packed_zeros else found.zeros)
            high.extend(pack_runs(found.codes >> np.uint8(low), bits=part) for part in upper)
            yield pack_runs(found.codes & np.uint8(2**low - 1), bits=low)

    weight = writer.streamed(
        "embed_tokens",
        blocks(),
        (rows, -(-width * low // 8)),
        np.uint8,
        bits=bits + (16 + (NIBBLE if packed_zeros else 8)) / BLOCK,
        reason=reason,
    )
    scale_table = writer.weight(
        "embed_tokens_scale", np.concatenate(scales), reason=f"scale of {BLOCK} table weights"
    )
    zero_table = writer.weight(
        "embed_tokens_zero", np.concatenate(zeros), reason=f"zero of {BLOCK} table weights"
    )
    codes = unpack_runs(writer, weight, ids, width=width, bits=low)
    for part in upper:
        stored = writer.weight(
            "embed_tokens_high", np.concatenate(high), reason=f"upper {part} of {bits} bits"
        )
        above = unpack_runs(writer, stored, ids, width=width, bits=part)
        shifted = writer.node("Mul", [above, writer.constant(2.0**low, np.float32)])
        codes = writer.node("Add", [codes, shifted])
    if packed_zeros:
        zero = unpack_runs(writer, zero_table, ids, width=parts, bits=NIBBLE)
    else:
        zero = writer.node("Cast", [writer.node("Gather", [zero_table, ids], axis=0)], to=FLOAT)
    gathered = row_scales(writer, scale_table, ids)
    scaling = writer.node("Mul", [gathered, writer.constant(unit * scale, np.float32)])
    if width % BLOCK:
        pads = writer.constant([0, 0, 0, 0, 0, parts * BLOCK - width], np.int64)
        codes = writer.node("Pad", [codes, pads])
    split = writer.node("Reshape", [codes, writer.constant([0, 0, parts, BLOCK], np.int64)])
    last = writer.constant([-1], np.int64)
    centred = writer.node("Sub", [split, writer.node("Unsqueeze", [zero, last])])
    scaled = writer.node("Mul", [centred, writer.node("Unsqueeze", [scaling, last])])
    whole = writer.node("Reshape", [scaled, writer.constant([0, 0, parts * BLOCK], np.int64)])
    if width % BLOCK:
        bounds = [writer.constant([n], np.int64) for n in (0, width, 2)]
        whole = writer.node("Slice", [whole, *bounds])
    found: str = writer.node("Cast", [whole], to=kind)
    return found


def _quantized(table: Table, bits: int) -> Iterator[BlockMatrix]:
    for values in table.blocks():
        yield quantize_table_rows(values, bits=bits)


def pack_runs(codes: Codes, *, bits: int) -> Codes:
    """Pack 8 / bits runs of each row's columns in a byte, the first run lowest. codes: (n, k), 0 to
    2^bits - 1. Returns (n, bytes) uint8; a last run that is not full is filled with zeros."""
    runs = 8 // bits
    even = np.pad(codes, ((0, 0), (0, -codes.shape[1] % runs))).reshape(len(codes), runs, -1)
    made = np.zeros((len(codes), even.shape[2]), np.uint8)
    for number in range(runs):
        made |= even[:, number] << np.uint8(number * bits)
    return made


def unpack_runs(writer: GraphWriter, stored: str, ids: str, *, width: int, bits: int) -> str:
    """Add the lookup of rows that `pack_runs` packed. Returns (batch, sequence, width) float32."""
    rest = writer.node("Cast", [writer.node("Gather", [stored, ids], axis=0)], to=FLOAT)
    runs, size = 8 // bits, float(2**bits)
    parts = []
    for _ in range(runs - 1):
        part = writer.node("Mul", [rest, writer.constant(1 / size, np.float32)])
        above = writer.node("Floor", [part])
        shifted = writer.node("Mul", [above, writer.constant(size, np.float32)])
        parts.append(writer.node("Sub", [rest, shifted]))
        rest = above
    codes: str = writer.node("Concat", [*parts, rest], axis=-1)
    if width % runs:
        bounds = [writer.constant([n], np.int64) for n in (0, width, 2)]
        codes = writer.node("Slice", [codes, *bounds])
    return codes


def row_scales(writer: GraphWriter, scales: str, ids: str) -> str:
    """Add the lookup of `scales`, (vocabulary, parts) float16. Returns (batch, sequence, parts) in
    float32."""
    if not writer.flavour.float16_rows:
        wide = writer.node("Cast", [scales], to=FLOAT)
        found: str = writer.node("Gather", [wide, ids], axis=0)
        return found
    cast: str = writer.node("Cast", [writer.node("Gather", [scales, ids], axis=0)], to=FLOAT)
    return cast


def lookup_rows(
    writer: GraphWriter,
    table: Table,
    ids: str,
    *,
    dtype: type[np.floating[Any]],
    stored: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]],
) -> str:
    """Add the lookup of `ids` in a table whose rows are stored as `stored` makes them, of `dtype`,
    in as many parts as the flavour needs. Returns (batch, sequence, width)."""
    rows, width = table.shape
    most = writer.flavour.largest_bytes
    each = rows if most is None else most // (width * np.dtype(dtype).itemsize)
    found, start = "", 0
    parts = table.parts(each)
    for number, part in enumerate(parts):
        name = "embed_tokens" if len(parts) == 1 else f"embed_tokens.{number}"
        stop = start + part.shape[0]
        weight = writer.streamed(name, map(stored, part.blocks()), part.shape, dtype)
        at = ids
        if start:
            own = writer.node("Greater", [ids, writer.constant(start - 1, np.int64)])
            shifted = writer.node("Sub", [ids, writer.constant(start, np.int64)])
            at = writer.node("Where", [own, shifted, writer.constant(0, np.int64)])
        if stop < rows:
            beyond = writer.node("Greater", [ids, writer.constant(stop - 1, np.int64)])
            at = writer.node("Where", [beyond, writer.constant(0, np.int64), at])
        gathered: str = writer.node("Gather", [weight, at], axis=0)
        if start:
            last = writer.constant([-1], np.int64)
            own = writer.node("Unsqueeze", [own, last])
            gathered = writer.node("Where", [own, gathered, found])
        found, start = gathered, stop
    return found
