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

from exporter.calibration.forward import (
    INPUTS,
    PROJECTIONS,
    Round,
    embed,
    layer_weights,
    pooled_states,
    run_layer,
    torch_module,
)
from exporter.calibration.inputs import check_finite
from exporter.calibration.weights import ModelWeights

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


def measure_importance(
    weights: ModelWeights, texts: Sequence[str], *, on_layer: Callable[[int], None] | None = None
) -> tuple[Importance, Floats]:
    """Run the model over `texts` (prompts applied) in float32.

    Returns the importances, Dense included, and the mean-pooled states, (n, hidden). Raises
    BadInput naming the first text whose activations are not finite, or MissingDependency.
    """
    torch = torch_module()
    a, checkpoint = weights.architecture, weights.checkpoint
    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}
    largest: dict[str, float] = {}

    def see(name: str, rows: Any) -> None:
        found = rows.double().square().sum(dim=0).numpy()
        sums[name] = sums[name] + found if name in sums else found
        counts[name] = counts.get(name, 0) + len(rows)
        largest[name] = max(largest.get(name, 0.0), float(rows.abs().max()))

    def watch(layer: int, site: str, values: Any) -> None:
        for name in INPUTS.get(site, ())[:1]:
            see(f"layers.{layer}.{name}", values)

    with torch.inference_mode():
        batches = embed(weights, texts, dtype=torch.float32)
        for i in range(a.num_layers):
            layer = layer_weights(weights, i, dtype=torch.float32)
            for batch in batches:
                run_layer(weights, i, layer, batch, watch=watch)
            if on_layer is not None:
                on_layer(i)
        pooled: Floats = pooled_states(weights, batches, count=len(texts))
        check_finite(pooled, texts)
        states = torch.from_numpy(pooled)
        for module in checkpoint.dense:
            see(module.tensor, states)
            states = states @ torch.from_numpy(checkpoint.tensor(module.tensor)).T
    for names in INPUTS.values():  # matrices that read the same input share its importance
        for i in range(a.num_layers):
            first = f"layers.{i}.{names[0]}"
            for other in names[1:]:
                at = f"layers.{i}.{other}"
                sums[at], counts[at], largest[at] = sums[first], counts[first], largest[first]
    return Importance(sums, counts, largest), pooled


def pooled_with_rounded_weights(
    weights: ModelWeights, texts: Sequence[str], *, matrix: Callable[[str, Floats], Floats],
    table: Round,
) -> Floats:  # fmt: skip
    """Return the mean-pooled states, (n, hidden), of the model with rounded weights.

    matrix: given a projection's name (`layers.0.mlp.up_proj`) and values, returns what rounding
    leaves; table: the same for rows of the embedding table. Activations are not rounded.
    """
    torch = torch_module()
    with torch.inference_mode():
        batches = embed(weights, texts, dtype=torch.float32, round_rows=table)
        for i in range(weights.architecture.num_layers):
            layer = layer_weights(weights, i, dtype=torch.float32)
            for name in PROJECTIONS:
                rounded = matrix(f"layers.{i}.{name}", layer[name].numpy())
                layer[name] = torch.from_numpy(rounded)
            for batch in batches:
                run_layer(weights, i, layer, batch)
        made: Floats = pooled_states(weights, batches, count=len(texts))
    check_finite(made, texts)
    return made
