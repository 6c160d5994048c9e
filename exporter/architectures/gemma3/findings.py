"""What the weights of a Gemma 3 text model say of its arithmetic."""

import math
from collections.abc import Mapping

import numpy as np

from exporter.architectures.gemma3.config import Gemma3Architecture
from exporter.architectures.shared_findings import embed_scale_finding, stream_finding
from exporter.checkpoint.contents import Finding
from exporter.checkpoint.safetensors_file import TensorInfo, largest_magnitude, read_tensor


def architecture_findings(
    a: Gemma3Architecture, tensors: Mapping[str, TensorInfo]
) -> list[Finding]:
    """Return the findings on arithmetic: fp16 range, attention scale, bf16 scale, int8 sums."""
    found = [fp16_range(a, tensors)]
    if a.query_pre_attn_scalar != a.head_dim:
        found.append(
            Finding(
                id="attention-scale",
                severity="warning",
                evidence=f"query_pre_attn_scalar is {a.query_pre_attn_scalar:g}, "
                f"head_dim {a.head_dim}",
                effect="llama.cpp ignores the field and scales by 1/sqrt(head_dim), so a GGUF of "
                "this model gives other vectors",
                remedy="export ONNX, whose graph uses the field; GGUF export refuses",
            )
        )
    found.append(embed_scale_finding(a.hidden_size))
    return found


def fp16_range(a: Gemma3Architecture, tensors: Mapping[str, TensorInfo]) -> Finding:
    """Bound the residual stream from the weights alone.

    A post-norm row has RMS 1 before its gain, so no component exceeds sqrt(hidden) times the
    gain; the sum over the layers, plus the scaled embedding, bounds the residual.
    """
    gains = np.zeros(a.hidden_size)
    for i in range(a.num_layers):
        for norm in ("post_attention", "post_feedforward"):
            gains += np.abs(1 + read_tensor(tensors[f"layers.{i}.{norm}_layernorm.weight"]))
    scale = math.sqrt(a.hidden_size)
    bound = float(gains.max()) * scale + largest_magnitude(tensors["embed_tokens.weight"]) * scale
    return stream_finding(
        bound,
        largest=f"the post-norm gains of channel {int(gains.argmax())} add up to "
        f"{gains.max():,.0f}",
    )
