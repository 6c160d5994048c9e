"""Block-Hadamard rotations of matrices' inputs: outliers spread over a block, exact in float32.

A matrix' input is multiplied by an orthonormal matrix and so are the matrix' columns, so that the
product stays what it is (QuaRot, https://arxiv.org/abs/2404.00456; SpinQuant,
https://arxiv.org/abs/2405.16406). The rotation of o_proj's input commutes with attention's
weighted sum and is folded into v_proj's rows; the residual stream cannot be rotated for good, since
the gains of the post-norms lie between, so the other inputs are rotated at run time.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from exporter.quantization.forward import INPUTS
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


class RotatedWeights(ModelWeights):
    """The weights of `inner` for a model whose matrices' inputs are rotated.

    `blocks`: the block of each rotated site of `INPUTS`; a site that is missing is left as it is.
    `attended` is folded into v_proj and needs nothing at run time.
    """

    def __init__(self, inner: ModelWeights, blocks: Mapping[str, int]) -> None:
        super().__init__(inner.checkpoint)
        self.inner = inner
        a = self.architecture
        self._widths = {
            "attention_in": a.hidden_size,
            "attended": a.num_heads * a.head_dim,
            "mlp_in": a.hidden_size,
            "product": a.intermediate_size,
        }
        self.blocks = {
            site: largest_block(a.head_dim if site == "attended" else self.width(site), most)
            for site, most in blocks.items()
        }
        self._site = {name: site for site, names in INPUTS.items() for name in names}

    def width(self, site: str) -> int:
        """Return the number of channels of a site."""
        return self._widths[site]

    def runtime_block(self, site: str) -> int:
        """Return the block that a runtime has to rotate `site` by, 1 for none."""
        return 1 if site == "attended" else self.blocks.get(site, 1)

    @property
    def embed_scale(self) -> float:
        return self.inner.embed_scale

    def gain(self, name: str) -> Floats:
        return self.inner.gain(name)

    def epsilon(self, name: str) -> float:
        return self.inner.epsilon(name)

    def matrix(self, name: str) -> Floats:
        weight = self.inner.matrix(name)
        short = name.split(".", 2)[2]
        weight = rotate_columns(weight, self.blocks.get(self._site[short], 1))
        if short == "self_attn.v_proj" and "attended" in self.blocks:
            # Rows of a head are what o_proj's columns are multiplied with.
            weight = np.ascontiguousarray(rotate_columns(weight.T, self.blocks["attended"]).T)
        return weight
