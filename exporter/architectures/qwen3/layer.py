"""The layers of a Qwen3Model.

`x = x + f(norm(x))`, RMSNorm whose gain is its weight, per-head norms on queries and keys, rotary
positions, causal attention, an MLP gated by SiLU
(https://github.com/huggingface/transformers/blob/v4.57.1/src/transformers/models/qwen3/modeling_qwen3.py).
"""

import math
from functools import partial

from exporter.architectures.family import Fp16Plan, Site, layer_name
from exporter.architectures.grouped import (
    HEAD_NORMS,
    attention_steps,
    chains,
    grouped_sites,
    mlp_steps,
)
from exporter.architectures.qwen3.config import FULL, Qwen3Architecture
from exporter.architectures.steps import Add, Norm, Step

# No norm takes up what a layer gives: it is added to the residual stream, and shares its factor.
FP16 = Fp16Plan(head_norms=HEAD_NORMS, chains=chains(attention_norm="", mlp_norm=""))


def layer_steps(a: Qwen3Architecture, index: int) -> tuple[Step, ...]:
    """Return the steps of a layer."""
    at = partial(layer_name, index)
    return (
        Norm("x", "h", at("input_layernorm"), site="attention_in"),
        *attention_steps(
            at,
            heads=a.num_heads,
            kv_heads=a.num_kv_heads,
            head_dim=a.head_dim,
            kind=FULL,
            scale=1 / math.sqrt(a.head_dim),
        ),
        Add("x", "attention_out", "x", site="residual"),
        Norm("x", "h", at("post_attention_layernorm"), site="mlp_in"),
        *mlp_steps(at, "silu"),
        Add("x", "mlp_out", "x", site="residual"),
    )


def sites(a: Qwen3Architecture) -> tuple[Site, ...]:
    """Return the inputs of a layer's matrices."""
    return grouped_sites(
        hidden=a.hidden_size,
        inner=a.intermediate_size,
        heads=a.num_heads,
        kv_heads=a.num_kv_heads,
        head_dim=a.head_dim,
        mlp_norm="post_attention_layernorm",
    )
