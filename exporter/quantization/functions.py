"""torch, and the functions that layers are made of, in the dtype of what they are given."""

from collections.abc import Mapping
from typing import Any

from exporter.architectures.steps import Activation
from exporter.errors import require

Weights = Mapping[str, Any]
"""Tensors by their full names, without `.weight`."""


def torch_module() -> Any:
    """Return torch. Raises MissingDependency."""
    require("torch")
    import torch

    return torch


def rms_norm(x: Any, gain: Any, *, epsilon: float) -> Any:
    """Return x / rms(x) * gain, in the dtype of x throughout."""
    mean = (x * x).mean(dim=-1, keepdim=True)
    return x * (mean + epsilon).float().rsqrt().to(x.dtype) * gain


def layer_norm(x: Any, w: Weights, name: str, *, epsilon: float) -> Any:
    """Return (x - mean) / std * gain + bias, in the dtype of x throughout."""
    centred = x - x.mean(dim=-1, keepdim=True)
    return rms_norm(centred, w[name], epsilon=epsilon) + w[name + ".bias"]


def activate(x: Any, activation: Activation) -> Any:
    """Return an activation function of `x`, torch of any shape."""
    functional = torch_module().nn.functional
    if activation == "silu":
        return functional.silu(x)
    return functional.gelu(x, approximate=APPROXIMATE[activation])


APPROXIMATE: Mapping[Activation, str] = {"gelu": "none", "gelu_tanh": "tanh"}
"""torch's word for each GELU."""


def rotate(x: Any, cos: Any, sin: Any) -> Any:
    """Rotate each half of the last axis against the other. x: (b, s, heads, head_dim)."""
    first, second = x.chunk(2, dim=-1)
    return torch_module().cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
