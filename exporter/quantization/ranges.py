"""Measure what each layer's intermediates reach on calibration texts, in float32."""

from collections.abc import Callable, Sequence
from typing import Any

from exporter.architectures.family import Fp16Plan
from exporter.checkpoint.contents import Checkpoint
from exporter.manifest import Fp16Record, RangeRecord
from exporter.quantization.forward import RESIDUAL, run_backbone
from exporter.quantization.functions import torch_module
from exporter.quantization.inputs import check_finite
from exporter.quantization.measured import (
    LayerRanges,
    Rescaling,
    RowLengths,
    no_rescaling,
    range_records,
)
from exporter.quantization.rescale import RescaledWeights, choose_rescaling, fp16_plan
from exporter.quantization.weights import ModelWeights


# The inputs of norms: a runtime may add up their squares in fp16.
def norm_inputs(plan: Fp16Plan) -> frozenset[str]:
    """Return the sites that norms are given."""
    heads = (head.name for head in plan.head_norms)
    stream = (RESIDUAL,) if plan.scales_stream else ()
    outputs = (chain.output for chain in plan.chains if chain.norm)
    return frozenset({*stream, *heads, *plan.normed, *outputs})


MEASURED_TEXTS = 128
LOWEST = 150  # float32's exponents lie within


def measure_ranges(
    checkpoint: Checkpoint, texts: Sequence[str], *, on_layer: Callable[[int], None] | None = None
) -> tuple[LayerRanges, ...]:
    """Run the model over about 128 of `texts` (prompts applied): what each layer reached.

    Every intermediate is looked at, which takes longer than the run itself. Raises BadInput naming
    the first text whose activations are not finite.
    """
    weights = ModelWeights(checkpoint)
    inputs = norm_inputs(fp16_plan(weights))
    texts = texts[:: max(1, len(texts) // MEASURED_TEXTS)]
    layers = [_Layer(inputs) for _ in range(weights.architecture.num_layers)]

    def see(layer: int, site: str, values: Any) -> None:
        if site != "final":  # a norm's output: as large as its gain, whatever came in
            layers[layer].see(site, values)

    pooled = run_backbone(checkpoint, texts, watch=see, on_layer=on_layer)
    check_finite(pooled, texts)
    return tuple(layer.record() for layer in layers)


def measure_fp16(
    checkpoint: Checkpoint, texts: Sequence[str], *, on_layer: Callable[[int], None] | None = None
) -> tuple[Rescaling, Fp16Record]:
    """Measure, choose the powers of two, and say how each layer then lies in fp16.

    Raises BadInput as `measure_ranges` and `choose_rescaling` do.
    """
    ranges = measure_ranges(checkpoint, texts, on_layer=on_layer)
    rescaling = choose_rescaling(checkpoint, ranges)
    weights = RescaledWeights(checkpoint, rescaling)
    return rescaling, Fp16Record(
        residual_exponent=rescaling.residual,
        smallest_epsilon=min(weights.epsilon(name) for name in weights.norm_names),
        layers=range_records(ranges, rescaling),
    )


def compare_fp16(
    checkpoint: Checkpoint, texts: Sequence[str]
) -> dict[str, tuple[RangeRecord, ...]]:
    """Return how each layer lies in fp16 as saved, and as `choose_rescaling` makes it."""
    plan = fp16_plan(ModelWeights(checkpoint))
    ranges = measure_ranges(checkpoint, texts)
    return {
        "as saved": range_records(ranges, no_rescaling(plan, len(ranges))),
        "rescaled": range_records(ranges, choose_rescaling(checkpoint, ranges)),
    }


class _Layer:
    """Running maxima, counts by exponent and row lengths of one layer."""

    def __init__(self, norm_inputs: frozenset[str]) -> None:
        self._norm_inputs = norm_inputs
        self.largest: dict[str, float] = {}
        self.exponents: dict[str, dict[int, int]] = {}
        self.length: dict[str, RowLengths] = {}

    def see(self, site: str, values: Any) -> None:
        torch = torch_module()
        sizes = values.abs()
        self.largest[site] = max(self.largest.get(site, 0.0), float(sizes.max()))
        _, exponents = torch.frexp(sizes[sizes > 0])  # |x| = m * 2^e, m in [0.5, 1)
        found = torch.bincount(exponents.clamp(-LOWEST, LOWEST) + LOWEST)
        counts = self.exponents.setdefault(site, {})
        for at in found.nonzero().flatten().tolist():
            e = at - LOWEST - 1
            counts[e] = counts.get(e, 0) + int(found[at])
        if site in self._norm_inputs:
            rows = torch.linalg.vector_norm(values.double(), dim=-1)
            rows = rows[rows > 0]
            before = self.length.get(site, RowLengths())
            if rows.numel():
                self.length[site] = RowLengths(
                    largest=max(before.largest, float(rows.max())),
                    smallest=min(before.smallest, float(rows.min())),
                )

    def record(self) -> LayerRanges:
        return LayerRanges(
            largest=self.largest,
            exponents={site: dict(sorted(c.items())) for site, c in self.exponents.items()},
            length=self.length,
        )
