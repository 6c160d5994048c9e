"""Block-Hadamard rotations of matrices' inputs: outliers spread over a block, exact in float32.

A matrix' input is multiplied by an orthonormal matrix and so are the matrix' columns, so that the
product stays what it is (QuaRot, https://arxiv.org/abs/2404.00456; SpinQuant,
https://arxiv.org/abs/2405.16406). A rotation within the heads of attention's output commutes with
its weighted sum and is folded into the rows of the values' matrix; the residual stream cannot be
rotated for good where gains of norms lie between, so the other inputs are rotated at run time.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import Site, name_in_layer
from exporter.quantization.weights import ModelWeights

Floats = npt.NDArray[np.float32]


def hadamard(size: int) -> Floats:
    """Return Sylvester's Hadamard matrix over sqrt(size): (size, size) float32, orthonormal and
    symmetric. `size`: a power of two."""
    assert size > 0 and size & (size - 1) == 0, size
    made = np.ones((1, 1))
    while len(made) < size:
        made = np.block([[made, made], [made, -made]])
    return (made / math.sqrt(size)).astype(np.float32)


def largest_block(width: int, most: int) -> int:
    """Return the largest power of two up to `most` that divides `width`."""
    size = most
    while width % size:
        size //= 2
    return size


def rotate_columns(values: Floats, block: int) -> Floats:
    """Return `values`, (rows, n), each run of `block` columns multiplied by `hadamard(block)`."""
    if block == 1:
        return values
    turned = values.reshape(len(values), -1, block) @ hadamard(block)
    return np.ascontiguousarray(turned.reshape(values.shape), np.float32)


RUNTIME_BLOCK, FOLDED_BLOCK = 32, 256
"""How far a site is rotated: at run time, and where it costs nothing there."""


def usual_blocks(sites: Sequence[Site]) -> dict[str, int]:
    """Return the block by which each site is rotated, at most."""
    return {site.name: FOLDED_BLOCK if site.head_dim else RUNTIME_BLOCK for site in sites}


class RotatedWeights(ModelWeights):
    """The weights of `inner` for a model whose matrices' inputs are rotated.

    `blocks`: the block of each rotated site, at most; a site that is missing is left as it is. A
    site within whose heads a rotation can be folded (`Site.head_dim`) needs nothing at run time.
    """

    def __init__(self, inner: ModelWeights, blocks: Mapping[str, int]) -> None:
        super().__init__(inner.checkpoint)
        self.inner = inner
        self.blocks = {
            site.name: largest_block(site.head_dim or site.width, blocks[site.name])
            for site in self.sites
            if site.name in blocks
        }
        self._read_by = {matrix: site.name for site in self.sites for matrix in site.matrices}
        self._folded = {site.matrix: site.name for site in self.sites if site.head_dim}

    def runtime_block(self, site: str) -> int:
        """Return the block that a runtime has to rotate `site` by, 1 for none."""
        return 1 if site in self._folded.values() else self.blocks.get(site, 1)

    @property
    def embed_scale(self) -> float:
        return self.inner.embed_scale

    def gain(self, name: str) -> Floats:
        return self.inner.gain(name)

    def bias(self, name: str) -> Floats:
        bias = self.inner.bias(name)
        block = self._rows_block(name)
        return bias if block == 1 else rotate_columns(bias[None], block)[0]

    def epsilon(self, name: str) -> float:
        return self.inner.epsilon(name)

    def matrix(self, name: str) -> Floats:
        weight = self.inner.matrix(name)
        _, short = name_in_layer(name)
        weight = rotate_columns(weight, self.blocks.get(self._read_by[short], 1))
        block = self._rows_block(name)
        if block > 1:
            # Rows of a head are what the next matrix' columns are multiplied with.
            weight = np.ascontiguousarray(rotate_columns(weight.T, block).T)
        return weight

    def _rows_block(self, name: str) -> int:
        """Return by which block the outputs of `name` are rotated for good, 1 for none."""
        short = name_in_layer(name)[1] if "." in name else ""
        return self.blocks.get(self._folded.get(short, ""), 1)
