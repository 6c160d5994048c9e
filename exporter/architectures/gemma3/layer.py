"""The layers of a bidirectional Gemma3TextModel.

`x = x + post_norm(f(pre_norm(x)))`, RMSNorm with gain 1 + weight, per-head norms on queries and
keys, rotary positions, sliding and full layers
(https://github.com/huggingface/transformers/blob/v4.57.1/src/transformers/models/gemma3/modeling_gemma3.py).
"""

import math

from exporter.architectures.family import Chain, Fp16Plan, HeadNorm, Site, layer_name
from exporter.architectures.gemma3.config import Gemma3Architecture
from exporter.architectures.steps import Add, Attend, Gate, Norm, Product, Project, Rotate, Step

FP16 = Fp16Plan(
    residual_norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    head_norms=(
        HeadNorm("self_attn.q_proj", "self_attn.q_norm", "query"),
        HeadNorm("self_attn.k_proj", "self_attn.k_norm", "key"),
    ),
    chains=(
        Chain(
            first="self_attn.v_proj",
            second="self_attn.o_proj",
            inner=("value",),
            output="attention_out",
            norm="post_attention_layernorm",
            names=("value", "output"),
        ),
        Chain(
            first="mlp.up_proj",
            second="mlp.down_proj",
            inner=("up", "product"),
            output="mlp_out",
            norm="post_feedforward_layernorm",
            names=("up", "down"),
        ),
    ),
)


def layer_steps(a: Gemma3Architecture, index: int) -> tuple[Step, ...]:
    """Return the steps of a layer."""

    def at(name: str) -> str:
        return layer_name(index, name)

    kind = a.layer_types[index]
    return (
        Norm("x", "h", at("input_layernorm"), site="attention_in"),
        Project(
            "h",
            "attention_in",
            (
                Product(at("self_attn.q_proj"), "q", heads=a.num_heads, site="query"),
                Product(at("self_attn.k_proj"), "k", heads=a.num_kv_heads, site="key"),
                Product(at("self_attn.v_proj"), "v", heads=a.num_kv_heads, site="value"),
            ),
        ),
        Norm("q", "q", at("self_attn.q_norm"), heads=a.num_heads),
        Rotate("q", a.num_heads, kind),
        Norm("k", "k", at("self_attn.k_norm"), heads=a.num_kv_heads),
        Rotate("k", a.num_kv_heads, kind),
        Attend(
            q="q",
            k="k",
            v="v",
            out="attended",
            heads=a.num_heads,
            kv_heads=a.num_kv_heads,
            head_dim=a.head_dim,
            mask=kind,
            scale=1 / math.sqrt(a.query_pre_attn_scalar),
            site="attended",
            scores_site="scores",
        ),
        Project(
            "attended",
            "attended",
            (Product(at("self_attn.o_proj"), "attention_out", site="attention_out"),),
        ),
        Norm("attention_out", "normed", at("post_attention_layernorm"), site="post_norm"),
        Add("x", "normed", "x", site="residual"),
        Norm("x", "h", at("pre_feedforward_layernorm"), site="mlp_in"),
        Project(
            "h",
            "mlp_in",
            (
                Product(at("mlp.gate_proj"), "gate", site="gate"),
                # A factor of its rows passes the product and down_proj.
                Product(at("mlp.up_proj"), "up", site="up", late_factor=True),
            ),
        ),
        Gate("gate", "up", "product", "gelu_tanh", site="product"),
        Project("product", "product", (Product(at("mlp.down_proj"), "mlp_out", site="mlp_out"),)),
        Norm("mlp_out", "normed", at("post_feedforward_layernorm"), site="post_norm"),
        Add("x", "normed", "x", site="residual"),
    )


def sites(a: Gemma3Architecture) -> tuple[Site, ...]:
    """Return the inputs of a layer's matrices."""
    return (
        Site(
            "attention_in",
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            width=a.hidden_size,
            norm="input_layernorm",
        ),
        Site(
            "attended",
            ("self_attn.o_proj",),
            width=a.num_heads * a.head_dim,
            matrix="self_attn.v_proj",
            head_dim=a.head_dim,
            group=a.num_heads // a.num_kv_heads,
        ),
        Site(
            "mlp_in",
            ("mlp.gate_proj", "mlp.up_proj"),
            width=a.hidden_size,
            norm="pre_feedforward_layernorm",
        ),
        Site("product", ("mlp.down_proj",), width=a.intermediate_size, matrix="mlp.up_proj"),
    )
