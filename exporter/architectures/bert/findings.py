"""What the weights of a BERT encoder say of its arithmetic."""

import math
from collections.abc import Mapping

import numpy as np

from exporter.architectures.bert.config import BertArchitecture
from exporter.checkpoint.contents import Finding
from exporter.checkpoint.safetensors_file import TensorInfo, read_tensor

FP16_MAX = 65504.0


def architecture_findings(a: BertArchitecture, tensors: Mapping[str, TensorInfo]) -> list[Finding]:
    """Return the findings on arithmetic and positions."""
    found = [fp16_range(a, tensors)]
    if a.padding_id is not None:
        found.append(
            Finding(
                id="positions-behind-padding",
                severity="info",
                evidence=f"positions begin at {a.padding_id + 1}, behind the padding's id "
                f"{a.padding_id}: {a.places} rows place {a.max_positions} tokens",
                effect="a runtime that counts them from 0 gives other vectors",
                remedy="none needed here: graphs count them as the model does",
            )
        )
    return found


def fp16_range(a: BertArchitecture, tensors: Mapping[str, TensorInfo]) -> Finding:
    """Bound what every norm gives from its gain and bias alone: a normalized row of n components
    holds none above sqrt(n - 1)."""
    norms = ["embed_norm"]
    for i in range(a.num_layers):
        norms += [f"layers.{i}.attention.output.LayerNorm", f"layers.{i}.output.LayerNorm"]
    bounds = {}
    for name in norms:
        gain, bias = (np.abs(read_tensor(tensors[f"{name}.{part}"])) for part in ("weight", "bias"))
        bounds[name] = float((gain * math.sqrt(a.hidden_size - 1) + bias).max())
    widest = max(bounds, key=lambda name: bounds[name])
    holds = bounds[widest] < FP16_MAX
    return Finding(
        id="fp16-range",
        severity="info" if holds else "warning",
        evidence=f"no norm can give more than {bounds[widest]:,.0f} ({widest}), fp16 holds "
        f"{FP16_MAX:,.0f}",
        effect="the residual stream does not overflow in fp16"
        if holds
        else "plain fp16 can overflow to Inf and give NaN vectors",
        remedy="none needed for the stream; activations inside a layer are not bounded here"
        if holds
        else "run in fp32; an fp16 artifact counts only with a parity report over real text",
    )
