"""The importance matrix: how much each input channel of each matrix weighs, from calibration text.

The mean square of a channel is the weight of its column's rounding error in the output's squared
error. llama.cpp's own tool collects it from chat models' graphs; it aborts on a model that adds an
end token and never sees the Dense modules (tools/imatrix/imatrix.cpp), so it is measured here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import Site, layer_name, name_in_layer
from exporter.checkpoint.contents import Checkpoint
from exporter.quantization.forward import run_backbone
from exporter.quantization.functions import torch_module
from exporter.quantization.inputs import check_finite
from exporter.quantization.weights import ModelWeights

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Importance:
    """Sums over `count` rows of the squared input of each matrix, by its name in the checkpoint
    without `.weight` (Dense: the tensor's full name). sums: (in,) float64 each. `largest`: the
    largest magnitude of each input."""

    sums: Mapping[str, npt.NDArray[np.float64]]
    counts: Mapping[str, int]
    largest: Mapping[str, float]

    def mean_square(self, name: str) -> Floats | None:
        """Return the mean square of each input channel, (in,), or None for an unknown matrix."""
        if name not in self.sums:
            return None
        # In float32, as llama.cpp divides what its file holds: a file gives the same bytes.
        return self.sums[name].astype(np.float32) / np.float32(self.counts[name])


class ImportanceWatch:
    """A watch (see `exporter.quantization.forward`) that sums the squares of matrices' inputs."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._inputs = {site.name: site.matrices for site in sites}
        self.sums: dict[str, npt.NDArray[np.float64]] = {}
        self.counts: dict[str, int] = {}
        self.largest: dict[str, float] = {}

    def __call__(self, layer: int, site: str, values: Any) -> None:
        if site in self._inputs:
            self._see(layer_name(layer, self._inputs[site][0]), values)

    def _see(self, name: str, rows: Any) -> None:
        found = rows.double().square().sum(dim=0).numpy()
        self.sums[name] = self.sums[name] + found if name in self.sums else found
        self.counts[name] = self.counts.get(name, 0) + len(rows)
        self.largest[name] = max(self.largest.get(name, 0.0), float(rows.abs().max()))

    def importance(self, checkpoint: Checkpoint, pooled: Floats) -> Importance:
        """Return what was seen, and the inputs of the Dense modules. pooled: (n, hidden)."""
        torch = torch_module()
        projections = tuple(self.sums)
        states = torch.from_numpy(pooled)
        for module in checkpoint.dense:
            self._see(module.tensor, states)
            states = states @ torch.from_numpy(checkpoint.tensor(module.tensor)).T
        sums, counts, largest = dict(self.sums), dict(self.counts), dict(self.largest)
        for first in projections:
            layer, matrix = name_in_layer(first)
            others = next(names[1:] for names in self._inputs.values() if names[0] == matrix)
            for other in others:  # matrices that read the same input
                at = layer_name(layer, other)
                sums[at], counts[at], largest[at] = sums[first], counts[first], largest[first]
        return Importance(sums, counts, largest)


def measure_importance(
    weights: ModelWeights, texts: Sequence[str], *, on_layer: Callable[[int], None] | None = None
) -> tuple[Importance, Floats]:
    """Run the model over `texts` (prompts applied) in float32.

    Returns the importances, Dense included, and the pooled states, (n, hidden). Raises
    BadInput naming the first text whose activations are not finite, or MissingDependency.
    """
    watch = ImportanceWatch(weights.sites)
    pooled: Floats = run_backbone(
        weights.checkpoint, texts, weights=weights, watch=watch, on_layer=on_layer
    )
    check_finite(pooled, texts)
    return watch.importance(weights.checkpoint, pooled), pooled
