"""Findings on arithmetic that several families have in common."""

import math

import numpy as np

from exporter.checkpoint.contents import Finding

FP16_MAX = 65504.0


def embed_scale_finding(hidden: int) -> Finding:
    """Return the finding on sqrt(hidden), by which Gemma multiplies its embeddings."""
    exact = math.sqrt(hidden)
    rounded = _bf16(exact)
    return Finding(
        id="bf16-embed-scale",
        severity="info",
        evidence=f"sqrt(hidden) = {exact:.4f} is {rounded:g} in bf16, "
        f"{abs(rounded / exact - 1):.2%} away",
        effect="a bf16 model is itself away from the fp32 truth; that distance is the unit "
        "for every other error",
        remedy="read artifact errors beside the noise floor of the parity report",
    )


def stream_finding(bound: float, *, largest: str) -> Finding:
    """Return the finding on the residual stream in fp16. bound: what the weights bound it by;
    largest: what makes it so large."""
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
        evidence=f"{largest}; the residual is bounded only by {bound:,.0f}, fp16 holds "
        f"{FP16_MAX:,.0f}",
        effect="plain fp16 can overflow to Inf and give NaN vectors on ordinary text",
        remedy="run in fp32 or bf16; an fp16 artifact counts only with a parity report over real "
        "text",
    )


def _bf16(value: float) -> float:
    bits = int(np.float32(value).view(np.uint32))
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return float(np.uint32(bits).view(np.float32))
