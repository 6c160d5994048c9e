"""What int8 must know of each matrix' input: its outlier channels, and one scale for all rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import Checkpoint
from exporter.quantization.forward import (
    INPUTS,
    PROJECTIONS,
    Watch,
    embed,
    layer_weights,
    pooled_states,
    run_layer,
    torch_module,
)
from exporter.quantization.inputs import check_finite
from exporter.quantization.pairs import quantize_pairs
from exporter.quantization.smooth import (
    Exponents,
    LayerSmoothing,
    SmoothedWeights,
    smoothing_exponents,
)
from exporter.quantization.weights import ModelWeights

LEVELS = 127
SAMPLED_ROWS = 1024
# How far below the largest value a scale may end: what lies above is clipped.
SHRINK = np.arange(1.0, 0.35, -0.1)
# Attention averages over a text, so the rows of a text of few tokens are several times larger than
# most that calibration sees: clipping them would pay on average and ruin short questions.
NO_CLIPPING = np.array([1.0])

Sites = dict[str, list[Any]]


def measure_int8(
    checkpoint: Checkpoint,
    texts: Sequence[str],
    *,
    on_layer: Callable[[int], None] | None = None,
    watch: Watch | None = None,
) -> tuple[SmoothedWeights, dict[str, float], npt.NDArray[np.float32]]:
    """Run the model over `texts` (prompts applied), layer by layer, in float32.

    Returns the weights with outlier channels moved into them; the scale of each matrix' input
    by the matrix' name, so that input ~ int8 * scale; and the mean-pooled states,
    (n, hidden). `watch` sees the matrices' inputs as they were before. Deterministic on one
    machine. Raises BadInput naming the first text whose activations are not finite.
    """
    torch = torch_module()
    source = ModelWeights(checkpoint)
    a = source.architecture
    layers: list[LayerSmoothing] = []
    scales: dict[str, float] = {}
    with torch.inference_mode():
        batches = embed(source, texts, dtype=torch.float32)
        for i in range(a.num_layers):
            seen = _Sites("attention_in", "attended", "mlp_in", "product")
            weights = layer_weights(source, i, dtype=torch.float32)
            for batch in batches:
                run_layer(source, i, weights, batch, watch=_both(seen, watch), watched=INPUTS)
            smoothing, found = _smooth_layer(a, seen, weights)
            layers.append(smoothing)
            scales.update({f"layers.{i}.{name}": scale for name, scale in found.items()})
            if on_layer is not None:
                on_layer(i)
        pooled = pooled_states(source, batches, count=len(texts))
    check_finite(pooled, texts)
    return SmoothedWeights(checkpoint, tuple(layers)), scales, pooled


def emulate_int8(
    weights: SmoothedWeights, scales: Mapping[str, float], texts: Sequence[str],
    *, on_layer: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float32]:  # fmt: skip
    """Return what `measure_int8` returns third, with matrices and their inputs rounded to int8.

    The embedding table is left as it is: its rounding weighs least.
    """
    torch = torch_module()

    def alter(layer: int, site: str, values: Any) -> Any:
        if site not in INPUTS:
            return values
        scale = scales[f"layers.{layer}.{INPUTS[site][0]}"]
        return (values / scale).round().clamp(-LEVELS - 1, LEVELS) * scale

    with torch.inference_mode():
        batches = embed(weights, texts, dtype=torch.float32)
        for i in range(weights.architecture.num_layers):
            layer = layer_weights(weights, i, dtype=torch.float32)
            for name in PROJECTIONS:
                codes, row_scales = quantize_pairs(layer[name].numpy())
                layer[name] = torch.from_numpy(codes * row_scales[:, None])
            for batch in batches:
                run_layer(weights, i, layer, batch, alter=alter)
            if on_layer is not None:
                on_layer(i)
        found: npt.NDArray[np.float32] = pooled_states(weights, batches, count=len(texts))
        return found


def activation_scale(rows: Any, *, shrink: npt.NDArray[np.float64] = SHRINK) -> float:
    """Return the scale that rounds `rows` with the least squared error. rows: (n, width) torch.

    Values over 127 scales are clipped; that may pay where few are. `shrink`: what is tried, as a
    part of the scale that clips nothing.
    """
    torch = torch_module()
    largest = max(float(rows.max()), -float(rows.min()))
    if largest == 0:
        return 1.0
    if len(shrink) == 1:
        return float(np.float32(largest * shrink[0] / LEVELS))
    sample = rows[torch.linspace(0, len(rows) - 1, min(len(rows), SAMPLED_ROWS)).long()]
    best, smallest = largest / LEVELS, np.inf
    for part in shrink:
        scale = largest * float(part) / LEVELS
        rounded = (sample / scale).round().clamp(-LEVELS - 1, LEVELS) * scale
        error = float((rounded - sample).square().sum(dtype=torch.float64))
        if error < smallest:
            best, smallest = scale, error
    return float(np.float32(best))


def _smooth_layer(
    a: Any, seen: "_Sites", weights: dict[str, Any]
) -> tuple[LayerSmoothing, dict[str, float]]:
    def columns(*names: str) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = np.max(
            [weights[n].abs().amax(dim=0).numpy() for n in names], axis=0
        )
        return found

    exponents: dict[str, Exponents] = {}
    scales: dict[str, float] = {}
    for site, names in INPUTS.items():
        reading = columns(*names)
        rows = seen.rows(site)
        ranges = _largest(rows)
        if site == "attended":  # query heads of a group share the channels of one value head
            shape = (a.num_kv_heads, a.num_heads // a.num_kv_heads, a.head_dim)
            ranges, reading = (v.reshape(shape).max(axis=1).ravel() for v in (ranges, reading))
        exponents[site] = smoothing_exponents(ranges, reading)
        spread = exponents[site]
        if site == "attended":
            spread = spread.reshape(a.num_kv_heads, a.head_dim).repeat(shape[1], axis=0).ravel()
        scale = activation_scale(
            _smoothed(rows, spread), shrink=NO_CLIPPING if site == "attended" else SHRINK
        )
        scales.update(dict.fromkeys(names, scale))
    smoothing = LayerSmoothing(
        attention_in=exponents["attention_in"], value=exponents["attended"],
        mlp_in=exponents["mlp_in"], up=exponents["product"],
    )  # fmt: skip
    return smoothing, scales


def _both(first: Watch, second: Watch | None) -> Watch:
    def see(layer: int, site: str, values: Any) -> None:
        first(layer, site, values)
        if second is not None:
            second(layer, site, values)

    return see


def _largest(rows: Any) -> npt.NDArray[np.float32]:
    largest: npt.NDArray[np.float32] = np.maximum(
        rows.amax(dim=0).numpy(), -rows.amin(dim=0).numpy()
    )
    return largest


def _smoothed(rows: Any, exponents: Exponents) -> Any:
    return rows * torch_module().from_numpy(np.exp2(exponents).astype(np.float32))


class _Sites:
    """A watch that keeps the rows of some sites of one layer."""

    def __init__(self, *names: str) -> None:
        self._kept: Sites = {name: [] for name in names}

    def __call__(self, layer: int, site: str, values: Any) -> None:
        if site in self._kept:
            self._kept[site].append(values)

    def rows(self, site: str) -> Any:
        """Return all rows seen, (n, width)."""
        return torch_module().cat(self._kept[site])
