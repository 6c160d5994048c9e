"""int8 weights that no processor's 16-bit sums can saturate."""

import numpy as np
import numpy.typing as npt

PAIR_LIMIT = 128  # 255 * 128 = 32,640 fits into 16 bits, 255 * 129 does not
TINY = 1e-12  # a row of zeros gets this scale instead of dividing by zero


def quantize_pairs(
    values: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize each row to int8 so that no two neighbours (0 and 1, 2 and 3, ...) add up to more
    than 128 in magnitude. values: (rows, n).

    Returns (rows, n) int8 and scales (rows,) float32, so that row ~ int8 * scale.

    u8 x s8 instructions without VNNI add the products of such a pair in 16 bits. Seven-bit weights
    would be as safe at twice the error; this costs a third, since large neighbours are rare.
    """
    even = values[:, : values.shape[1] // 2 * 2]
    sums = np.abs(even[:, 0::2] + even[:, 1::2]).max(axis=1, initial=0)
    largest = np.maximum(np.abs(values).max(axis=1) / 127, sums / PAIR_LIMIT)
    scales = np.maximum(largest, TINY).astype(np.float32)
    codes = np.rint(values / scales[:, None]).clip(-127, 127).astype(np.int16)
    first, second = codes[:, 0 : even.shape[1] : 2], codes[:, 1 : even.shape[1] : 2]
    # Rounding may add one half each: the larger of the two gives one back.
    over = np.abs(first + second) > PAIR_LIMIT
    step = np.sign(first + second) * over
    bigger = np.abs(first) >= np.abs(second)
    first -= step * bigger
    second -= step * ~bigger
    return codes.astype(np.int8), scales
