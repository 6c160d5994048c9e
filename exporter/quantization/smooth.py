"""Outlier channels of activations moved into weights, by powers of two: exact in float32.

As in SmoothQuant (https://arxiv.org/abs/2211.10438) with alpha 0.5: a channel of a matrix' input is
multiplied by 2^e and the matrix' column divided by it, so that both have about the same range and
one scale serves all channels. The factor is folded into what makes the channel: a norm's gain (the
inputs of q/k/v and gate/up), v_proj's rows (the input of o_proj) and up_proj's rows (the
input of down_proj).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import Checkpoint
from exporter.quantization.weights import ModelWeights

Exponents = npt.NDArray[np.int64]

FARTHEST = 40  # exponents stay within: far from both ends of float32


@dataclass(frozen=True)
class LayerSmoothing:
    """Exponents of two by which a layer's activations are multiplied. attention_in, mlp_in:
    (hidden,); value: (kv_heads * head_dim,); up: (intermediate,)."""

    attention_in: Exponents
    value: Exponents
    mlp_in: Exponents
    up: Exponents


class SmoothedWeights(ModelWeights):
    """The weights with every layer's exponents folded in."""

    def __init__(self, checkpoint: Checkpoint, smoothing: tuple[LayerSmoothing, ...]) -> None:
        super().__init__(checkpoint)
        self.smoothing = smoothing

    def input_exponents(self, name: str) -> Exponents:
        """Return by which powers of two the input of a projection is multiplied, (in,)."""
        _, number, site = name.split(".", 2)
        layer = self.smoothing[int(number)]
        if site == "self_attn.o_proj":
            return self.by_query_head(layer.value)
        if site == "mlp.down_proj":
            return layer.up
        return layer.attention_in if site.startswith("self_attn") else layer.mlp_in

    def matrix(self, name: str) -> npt.NDArray[np.float32]:
        _, number, site = name.split(".", 2)
        layer = self.smoothing[int(number)]
        rows = {"self_attn.v_proj": layer.value, "mlp.up_proj": layer.up}.get(site)
        weight = super().matrix(name)
        weight *= np.exp2(-self.input_exponents(name)).astype(np.float32)
        if rows is not None:
            weight *= np.exp2(rows).astype(np.float32)[:, None]
        return weight

    def gain(self, name: str) -> npt.NDArray[np.float32]:
        gain = super().gain(name)
        if name.endswith(".input_layernorm"):
            exponents = self.smoothing[int(name.split(".")[1])].attention_in
        elif name.endswith(".pre_feedforward_layernorm"):
            exponents = self.smoothing[int(name.split(".")[1])].mlp_in
        else:
            return gain
        moved: npt.NDArray[np.float32] = gain * np.exp2(exponents).astype(np.float32)
        return moved

    def by_query_head(self, value: Exponents) -> Exponents:
        """Return (kv_heads * head_dim,) repeated to (heads * head_dim,)."""
        a = self.architecture
        repeats = a.num_heads // a.num_kv_heads
        return value.reshape(a.num_kv_heads, a.head_dim).repeat(repeats, axis=0).ravel()
