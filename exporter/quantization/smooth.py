"""Outlier channels of activations moved into weights, by powers of two: exact in float32.

As in SmoothQuant (https://arxiv.org/abs/2211.10438) with alpha 0.5: a channel of a matrix' input is
multiplied by 2^e and the matrix' column divided by it, so that both have about the same range and
one scale serves all channels. The factor is folded into what makes the channel, a norm's gain or a
matrix' rows (`Site.norm`, `Site.matrix`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import Site, name_in_layer
from exporter.checkpoint.contents import Checkpoint
from exporter.quantization.weights import ModelWeights

Exponents = npt.NDArray[np.int64]

FARTHEST = 40  # exponents stay within: far from both ends of float32


LayerSmoothing = Mapping[str, Exponents]
"""Exponents of two by which a layer's activations are multiplied, by the site: (width,), or, where
a matrix makes the site, (its rows,)."""


class SmoothedWeights(ModelWeights):
    """The weights with every layer's exponents folded in."""

    def __init__(self, checkpoint: Checkpoint, smoothing: tuple[LayerSmoothing, ...]) -> None:
        super().__init__(checkpoint)
        self.smoothing = smoothing
        self._read_by = {matrix: site for site in self.sites for matrix in site.matrices}
        self._made_by = {
            site.norm or site.matrix: site.name for site in self.sites if site.takes_factors
        }

    def input_exponents(self, name: str) -> Exponents:
        """Return by which powers of two the input of a projection is multiplied, (in,)."""
        layer, matrix = name_in_layer(name)
        site = self._read_by[matrix]
        return spread(site, self.smoothing[layer][site.name])

    def matrix(self, name: str) -> npt.NDArray[np.float32]:
        layer, matrix = name_in_layer(name)
        weight = super().matrix(name)
        weight *= np.exp2(-self.input_exponents(name)).astype(np.float32)
        if matrix in self._made_by:
            rows = self.smoothing[layer][self._made_by[matrix]]
            weight *= np.exp2(rows).astype(np.float32)[:, None]
        return weight

    def gain(self, name: str) -> npt.NDArray[np.float32]:
        return self._moved(name, super().gain(name))

    def bias(self, name: str) -> npt.NDArray[np.float32]:
        return self._moved(name, super().bias(name))

    def _moved(self, name: str, channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return channels that `name` makes, or shares of them, as they are multiplied."""
        if "." not in name:
            return channels
        layer, short = name_in_layer(name)
        if short not in self._made_by:
            return channels
        exponents = self.smoothing[layer][self._made_by[short]]
        moved: npt.NDArray[np.float32] = channels * np.exp2(exponents).astype(np.float32)
        return moved


def spread(site: Site, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return numbers of the rows of the matrix that makes a site, as its channels have them."""
    if site.group == 1:
        return values
    return values.reshape(-1, site.head_dim).repeat(site.group, axis=0).ravel()


def gathered(site: Site, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the sums of numbers of a site's channels, by the row that makes them: the other way
    round than `spread`."""
    if site.group == 1:
        return values
    summed: npt.NDArray[Any] = values.reshape(-1, site.group, site.head_dim).sum(axis=1).ravel()
    return summed
