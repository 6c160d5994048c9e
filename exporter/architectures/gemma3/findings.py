"""What the weights of a Gemma 3 text model say of its arithmetic."""

import math
from collections.abc import Mapping

import numpy as np

from exporter.architectures.gemma3.config import Gemma3Architecture
from exporter.checkpoint.contents import Finding
from exporter.checkpoint.safetensors_file import TensorInfo, largest_magnitude, read_tensor

FP16_MAX = 65504.0


def architecture_findings(
    a: Gemma3Architecture, tensors: Mapping[str, TensorInfo]
) -> list[Finding]:
    """Return the findings on arithmetic: fp16 range, attention scale, bf16 scale, int8 sums."""
    exact = math.sqrt(a.hidden_size)
    rounded = _bf16(exact)
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
    found.append(
        Finding(
            id="bf16-embed-scale",
            severity="info",
            evidence=f"sqrt(hidden) = {exact:.4f} is {rounded:g} in bf16, "
            f"{abs(rounded / exact - 1):.2%} away",
            effect="a bf16 model is itself away from the fp32 truth; that distance is the unit "
            "for every other error",
            remedy="read artifact errors beside the noise floor of the parity report",
        )
    )
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
    if bound < FP16_MAX:
        return Finding(
            id="fp16-range",
            severity="info",
            evidence=f"no residual can exceed {bound:,.0f}, fp16 holds {FP16_MAX:,.0f}",
            effect="the residual stream does not overflow in fp16",
            remedy="none needed for the residual; activations inside a layer are not bounded here",
        )
    return Finding(
        id="fp16-range",
        severity="warning",
        evidence=f"the post-norm gains of channel {int(gains.argmax())} add up to "
        f"{gains.max():,.0f}; the residual is bounded only by {bound:,.0f}, fp16 holds "
        f"{FP16_MAX:,.0f}",
        effect="plain fp16 can overflow to Inf and give NaN vectors on ordinary text",
        remedy="run in fp32 or bf16; an fp16 artifact counts only with a parity report over real "
        "text",
    )


def _bf16(value: float) -> float:
    bits = int(np.float32(value).view(np.uint32))
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return float(np.uint32(bits).view(np.float32))
