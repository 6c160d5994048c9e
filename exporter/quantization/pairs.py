"""int8 weights that no processor's 16-bit sums can saturate.

u8 x s8 instructions without VNNI add the products of two neighbours (0 and 1, 2 and 3, ...) in 16
bits. Seven-bit weights would be as safe at twice the error; large neighbours of one sign are rare,
and their errors are made up for by other columns.
"""

from typing import Any

PAIR_LIMIT = 128  # 255 * 128 = 32,640 fits into 16 bits, 255 * 129 does not
TINY = 1e-12  # a row of zeros gets this scale instead of dividing by zero


def within_pairs(codes: Any) -> Any:
    """Return `codes`, (rows, columns) torch, whole numbers up to 127 in magnitude, the second of
    each pair of neighbours moved until the two add up to no more than `PAIR_LIMIT`."""
    width = codes.shape[1] // 2 * 2
    bounded = codes.clone()
    first, second = codes[:, 0:width:2], codes[:, 1:width:2]
    bounded[:, 1:width:2] = second.clamp(-PAIR_LIMIT - first, PAIR_LIMIT - first)
    return bounded
