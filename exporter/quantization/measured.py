"""What calibration measures and decides: records only."""

import math

import numpy as np

from exporter.architectures.family import Fp16Plan, name_in_layer
from exporter.manifest import RangeRecord
from exporter.records import Record

FP16_LARGEST = 65504.0
FP16_SMALLEST_NORMAL = -14
"""log2 of the least fp16 value with all its digits."""
LENGTH_LIMIT = 255.0
"""Longest row whose squares fp16 can add up."""


class RowLengths(Record):
    """The longest and shortest row (L2) that a norm was given. Rows of zeros are not counted."""

    largest: float = 0.0
    smallest: float = math.inf


class LayerRanges(Record):
    """What one layer's intermediates reached, in float32, by the name of their site.

    `exponents` counts the nonzero values of a site by floor(log2 |x|).
    """

    largest: dict[str, float]
    exponents: dict[str, dict[int, int]]
    length: dict[str, RowLengths]


LayerScale = dict[str, int]
"""Exponents of two by which the matrices of one layer are multiplied, by their name in the family's
`Fp16Plan`; one that is missing is 0."""


class Rescaling(Record):
    """Exponents of two for a whole model. `residual` multiplies embeddings and the gains of norms
    whose outputs are added to the residual stream."""

    plan: Fp16Plan
    residual: int
    layers: tuple[LayerScale, ...]

    def matrix_exponent(self, name: str) -> int:
        """Return the exponent of a projection, as `layers.0.self_attn.q_proj`."""
        layer, matrix = name_in_layer(name)
        undone = self.residual if matrix in self.plan.undone_by else 0
        for head in self.plan.head_norms:
            if matrix == head.matrix:
                return self._of(layer, head.name) - undone
        for chain in self.plan.chains:
            if matrix in (chain.first, chain.second):
                return self._of(layer, chain.names[matrix == chain.second])
        return -undone

    def bias_exponent(self, name: str) -> int:
        """Return the exponent of a projection's or norm's bias: that of its output."""
        if "." not in name:
            return 0
        layer, short = name_in_layer(name)
        for chain in self.plan.chains:
            if short == chain.second:
                return sum(self._of(layer, part) for part in chain.names)
        return self.gain_exponent(name) + self.matrix_exponent(name)

    def gain_exponent(self, name: str) -> int:
        """Return the exponent of a norm's gain, as `layers.0.post_attention_layernorm`."""
        added = "." in name and name_in_layer(name)[1] in self.plan.residual_norms
        return self.residual if added else 0

    def norm_exponent(self, name: str) -> int:
        """Return the exponent of the rows that a norm is given; its eps takes twice that."""
        if "." not in name:
            return self.residual
        layer, norm = name_in_layer(name)
        for head in self.plan.head_norms:
            if norm == head.norm:
                return self._of(layer, head.name)
        for chain in self.plan.chains:
            if norm == chain.norm:
                return sum(self._of(layer, part) for part in chain.names)
        return self.residual

    def site_exponent(self, layer: int, site: str) -> int:
        """Return by which exponent the values at a measured site are multiplied."""
        if site in ("residual", "post_norm"):
            return self.residual
        for head in self.plan.head_norms:
            if site == head.name:
                return self._of(layer, head.name)
        for chain in self.plan.chains:
            if site in chain.inner:
                return self._of(layer, chain.names[0])
            if site == chain.output:
                return sum(self._of(layer, part) for part in chain.names)
        return 0

    def of_layer(self, layer: int) -> dict[str, int]:
        """Return all exponents of a layer by their names."""
        names = [head.name for head in self.plan.head_norms]
        names += [part for chain in self.plan.chains for part in chain.names]
        return {name: self._of(layer, name) for name in names}

    def _of(self, layer: int, name: str) -> int:
        return self.layers[layer].get(name, 0)


def no_rescaling(plan: Fp16Plan, layers: int) -> Rescaling:
    """Return the rescaling that changes nothing."""
    return Rescaling(plan=plan, residual=0, layers=({},) * layers)


def range_records(ranges: tuple[LayerRanges, ...], rescaling: Rescaling) -> tuple[RangeRecord, ...]:
    """Return how each layer lies in fp16 after `rescaling`: room above, losses below.

    Scales are powers of two, so ranges measured before them hold after them, shifted.
    """
    made = []
    for i, layer in enumerate(ranges):
        reached = {
            site: value * 2.0 ** rescaling.site_exponent(i, site)
            for site, value in layer.largest.items()
        }
        tightest = max(reached, key=lambda site: reached[site])
        lengths = {
            site: found.largest * 2.0 ** rescaling.site_exponent(i, site)
            for site, found in layer.length.items()
        }
        below = total = 0
        for site, counts in layer.exponents.items():
            shift = rescaling.site_exponent(i, site)
            total += sum(counts.values())
            below += sum(n for e, n in counts.items() if e + shift < FP16_SMALLEST_NORMAL)
        made.append(
            RangeRecord(
                layer=i,
                largest=_rounded(reached[tightest]),
                largest_site=tightest,
                headroom=_rounded(FP16_LARGEST / reached[tightest]),
                longest_row=_rounded(max(lengths.values())),
                row_headroom=_rounded(LENGTH_LIMIT / max(lengths.values())),
                underflow=_rounded(below / max(1, total)),
                scales=rescaling.of_layer(i),
            )
        )
    return tuple(made)


def _rounded(value: float) -> float:
    return float(np.format_float_positional(value, precision=4, fractional=False))
