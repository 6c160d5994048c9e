"""What calibration measures and decides: records only."""

import math

import numpy as np

from exporter.manifest import RangeRecord
from exporter.records import Record

FP16_LARGEST = 65504.0
FP16_SMALLEST_NORMAL = -14
"""log2 of the least fp16 value with all its digits."""
LENGTH_LIMIT = 255.0
"""Longest row whose squares fp16 can add up."""


class Lengths(Record):
    """The longest and shortest row (L2) that a norm was given. Rows of zeros are not counted."""

    largest: float = 0.0
    smallest: float = math.inf


class LayerRanges(Record):
    """What one layer's intermediates reached, in float32, by the name of their site.

    `exponents` counts the nonzero values of a site by floor(log2 |x|).
    """

    largest: dict[str, float]
    exponents: dict[str, dict[int, int]]
    length: dict[str, Lengths]


class LayerScale(Record):
    """Exponents of two by which the matrices of one layer are multiplied."""

    query: int = 0
    key: int = 0
    value: int = 0
    output: int = 0
    up: int = 0
    down: int = 0


MATRIX_FIELD = {
    "self_attn.q_proj": "query", "self_attn.k_proj": "key", "self_attn.v_proj": "value",
    "self_attn.o_proj": "output", "mlp.up_proj": "up", "mlp.down_proj": "down",
}  # fmt: skip


class Rescaling(Record):
    """Exponents of two for a whole model. `residual` multiplies embeddings and post-norm gains."""

    residual: int
    layers: tuple[LayerScale, ...]

    def matrix_exponent(self, name: str) -> int:
        """Return the exponent of a projection, as `layers.0.self_attn.q_proj`."""
        layer, site = _parts(name)
        return int(getattr(self.layers[layer], MATRIX_FIELD[site])) if site in MATRIX_FIELD else 0

    def gain_exponent(self, name: str) -> int:
        """Return the exponent of a norm's gain, as `layers.0.post_attention_layernorm`."""
        return self.residual if ".post_" in name else 0

    def norm_exponent(self, name: str) -> int:
        """Return the exponent of the rows that a norm is given; its eps takes twice that."""
        if name == "norm":
            return self.residual
        layer, site = _parts(name)
        scale = self.layers[layer]
        return {
            "post_attention_layernorm": scale.value + scale.output,
            "post_feedforward_layernorm": scale.up + scale.down,
            "self_attn.q_norm": scale.query,
            "self_attn.k_norm": scale.key,
        }.get(site, self.residual)

    def site_exponent(self, layer: int, site: str) -> int:
        """Return by which exponent the values at a measured site are multiplied."""
        scale = self.layers[layer]
        shifts = {
            "residual": self.residual, "post_norm": self.residual, "query": scale.query,
            "key": scale.key, "value": scale.value, "attended": scale.value, "up": scale.up,
            "attention_out": scale.value + scale.output, "product": scale.up,
            "mlp_out": scale.up + scale.down,
        }  # fmt: skip
        return shifts.get(site, 0)


def _parts(name: str) -> tuple[int, str]:
    _, layer, site = name.split(".", 2)
    return int(layer), site


def no_rescaling(layers: int) -> Rescaling:
    """Return the rescaling that changes nothing."""
    return Rescaling(residual=0, layers=(LayerScale(),) * layers)


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
                scales=rescaling.layers[i].model_dump(),
            )
        )
    return tuple(made)


def _rounded(value: float) -> float:
    return float(np.format_float_positional(value, precision=4, fractional=False))
