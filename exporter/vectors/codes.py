"""Vectors as whole numbers with a scale a row."""

import numpy as np
import numpy.typing as npt

from exporter.vectors.rows import Vectors

LARGEST = {8: 127, 16: 32767}


def coded(vectors: Vectors, *, bits: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int16]]:
    """Return (scales, codes) of vectors (n, dim): a component is code * scale of its row."""
    largest = LARGEST[bits]
    scales = (np.abs(vectors).max(axis=1) / np.float32(largest)).astype(np.float32)
    codes = np.rint(vectors / scales[:, None]).clip(-largest, largest)
    return scales, codes.astype(np.int16)
