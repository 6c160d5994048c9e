"""The weights of a checkpoint as a graph or a forward pass takes them."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import TABLE, Family, Site, family_of, layer_name
from exporter.architectures.steps import LayerNorm, Norm, Place
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.table import Table


class ModelWeights:
    """The weights as saved. Subclasses move factors between them; the function stays the same."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        assert checkpoint.architecture is not None
        self.checkpoint, self.architecture = checkpoint, checkpoint.architecture
        self.family: Family = family_of(checkpoint.architecture)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Return the inputs of each layer's matrices."""
        return self.family.sites(self.architecture)

    @property
    def table(self) -> Table:
        """Return the embedding table, the rows of the checkpoint's `vocabulary`."""
        vocabulary = self.checkpoint.vocabulary
        only = None if vocabulary is None else vocabulary.kept
        return Table(self.checkpoint.tensors[TABLE], only)

    @property
    def embed_scale(self) -> float:
        """Return the factor of the embedding table's rows."""
        return self.family.embed_scale(self.architecture)

    def matrix(self, name: str) -> npt.NDArray[np.float32]:
        """Return a projection, (out, in) float32; `name` as `layers.0.self_attn.q_proj`."""
        return self.checkpoint.tensor(name + ".weight")

    @property
    def matrix_shapes(self) -> dict[str, tuple[int, int]]:
        """Return (out, in) of every projection, by its name."""
        names = [
            layer_name(i, matrix)
            for i in range(self.architecture.num_layers)
            for site in self.sites
            for matrix in site.matrices
        ]
        shapes = {}
        for name in names:
            out, width = self.checkpoint.tensors[name + ".weight"].shape
            shapes[name] = (out, width)
        return shapes

    @property
    def norm_names(self) -> list[str]:
        """Return the name of every norm, the final one included."""
        return [norm.weight for norm in self._norms]

    @cached_property
    def _norms(self) -> list[Norm | LayerNorm]:
        layers = range(self.architecture.num_layers)
        steps = [s for i in layers for s in self.family.layer(self.architecture, i)]
        steps += [*self.family.entry(self.architecture), *self.family.final(self.architecture)]
        return [s for s in steps if isinstance(s, Norm | LayerNorm)]

    @cached_property
    def _plain_widths(self) -> dict[str, int]:
        return {n.weight: n.plain for n in self._norms if isinstance(n, Norm) and n.plain}

    def gain(self, name: str) -> npt.NDArray[np.float32]:
        """Return the gain of a norm: (n,) float32, ones where it has none."""
        if name in self._plain_widths:
            return np.ones(self._plain_widths[name], np.float32)
        return self.family.gain(self.checkpoint.tensor(name + ".weight"))

    def factor(self, name: str) -> float:
        """Return the number that a `Scale` multiplies by."""
        return float(self.checkpoint.tensor(name + ".weight")[0])

    def bias(self, name: str) -> npt.NDArray[np.float32]:
        """Return the bias of a projection or a norm: (n,) float32."""
        return self.checkpoint.tensor(name + ".bias")

    def places(self, step: Place) -> npt.NDArray[np.float32]:
        """Return what is added at each place that `step` knows: (places, hidden) float32."""
        always = self.checkpoint.tensor(step.always + ".weight")[0]
        made: npt.NDArray[np.float32] = self.checkpoint.tensor(step.weight + ".weight") + always
        return made

    def epsilon(self, name: str) -> float:
        """Return the eps of a norm."""
        return self.family.epsilon(self.architecture)

    def head(self, *, dim: int) -> npt.NDArray[np.float32] | None:
        """Return the product of all Dense weights, cut to the first `dim` outputs, for `x @ W`.

        Returns (hidden, dim) float32, multiplied in float64, or None where there is no Dense.
        Dense without bias commutes with mean pooling, so it may act on token states.
        """
        product: npt.NDArray[np.float64] | None = None
        for module in self.checkpoint.dense:
            weight = self.checkpoint.tensor(module.tensor).astype(np.float64)
            product = weight if product is None else weight @ product
        if product is None:
            return None
        return np.ascontiguousarray(product[:dim].T.astype(np.float32))
