"""The layers of a bidirectional Gemma3TextModel.

`x = x + post_norm(f(pre_norm(x)))`, RMSNorm with gain 1 + weight, per-head norms on queries and
keys, rotary positions, sliding and full layers
(https://github.com/huggingface/transformers/blob/v4.57.1/src/transformers/models/gemma3/modeling_gemma3.py).
"""

import math
from functools import partial

from exporter.architectures.family import Fp16Plan, Site, layer_name
from exporter.architectures.gemma3.config import Gemma3Architecture
from exporter.architectures.grouped import (
    HEAD_NORMS,
    attention_steps,
    chains,
    grouped_sites,
    mlp_steps,
)
from exporter.architectures.steps import Add, Norm, Step

POST_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")
FP16 = Fp16Plan(
    residual_norms=POST_NORMS,
    head_norms=HEAD_NORMS,
    chains=chains(attention_norm=POST_NORMS[0], mlp_norm=POST_NORMS[1]),
)


def layer_steps(a: Gemma3Architecture, index: int) -> tuple[Step, ...]:
    """Return the steps of a layer."""
    at = partial(layer_name, index)
    return (
        Norm("x", "h", at("input_layernorm"), site="attention_in"),
        *attention_steps(
            at,
            heads=a.num_heads,
            kv_heads=a.num_kv_heads,
            head_dim=a.head_dim,
            kind=a.layer_types[index],
            scale=1 / math.sqrt(a.query_pre_attn_scalar),
        ),
        Norm("attention_out", "normed", at("post_attention_layernorm"), site="post_norm"),
        Add("x", "normed", "x", site="residual"),
        Norm("x", "h", at("pre_feedforward_layernorm"), site="mlp_in"),
        *mlp_steps(at, "gelu_tanh"),
        Norm("mlp_out", "normed", at("post_feedforward_layernorm"), site="post_norm"),
        Add("x", "normed", "x", site="residual"),
    )


def sites(a: Gemma3Architecture) -> tuple[Site, ...]:
    """Return the inputs of a layer's matrices."""
    return grouped_sites(
        hidden=a.hidden_size,
        inner=a.intermediate_size,
        heads=a.num_heads,
        kv_heads=a.num_kv_heads,
        head_dim=a.head_dim,
        mlp_norm="pre_feedforward_layernorm",
    )
