"""The angles of rotary positions, as transformers computes them."""

import numpy as np
import numpy.typing as npt


def inverse_frequencies(theta: float, width: int) -> npt.NDArray[np.float32]:
    """Return 1 / theta ** (2 i / width), (width / 2,) float32.

    The power is rounded once, as torch's is to all but the last digit of one in fifty: numpy's own
    in float32 is not, and at position 32,768 that digit is an angle of 0.002.
    """
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    powers = np.power(np.float64(theta), exponents.astype(np.float64)).astype(np.float32)
    return np.asarray(np.float32(1) / powers, np.float32)


def rotary_angles(theta: float, *, width: int, positions: int) -> npt.NDArray[np.float32]:
    """Return the angle of each pair of a head's channels at each position, (positions, width / 2)
    float32: products of float32."""
    places = np.arange(positions, dtype=np.float32)
    return np.asarray(places[:, None] * inverse_frequencies(theta, width)[None, :], np.float32)
