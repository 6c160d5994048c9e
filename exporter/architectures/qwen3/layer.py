"""The layers of a Qwen3Model.

`x = x + f(norm(x))`, RMSNorm whose gain is its weight, per-head norms on queries and keys, rotary
positions, causal attention, an MLP gated by SiLU
(https://github.com/huggingface/transformers/blob/v4.57.1/src/transformers/models/qwen3/modeling_qwen3.py).
"""

import math

from exporter.architectures.family import Chain, Fp16Plan, HeadNorm, Site, layer_name
from exporter.architectures.qwen3.config import FULL, Qwen3Architecture
from exporter.architectures.steps import Add, Attend, Gate, Norm, Product, Project, Rotate, Step

NORMS = ("input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm")
FP16 = Fp16Plan(
    residual_norms=(),
    head_norms=(
        HeadNorm("self_attn.q_proj", "self_attn.q_norm", "query"),
        HeadNorm("self_attn.k_proj", "self_attn.k_norm", "key"),
    ),
    # No norm takes up what these give: it is added to the residual stream, and shares its factor.
    chains=(
        Chain(
            first="self_attn.v_proj",
            second="self_attn.o_proj",
            inner=("value",),
            output="attention_out",
            norm="",
            names=("value", "output"),
        ),
        Chain(
            first="mlp.up_proj",
            second="mlp.down_proj",
            inner=("up", "product"),
            output="mlp_out",
            norm="",
            names=("up", "down"),
        ),
    ),
)


def layer_steps(a: Qwen3Architecture, index: int) -> tuple[Step, ...]:
    """Return the steps of a layer."""

    def at(name: str) -> str:
        return layer_name(index, name)

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
        Rotate("q", a.num_heads, FULL),
        Norm("k", "k", at("self_attn.k_norm"), heads=a.num_kv_heads),
        Rotate("k", a.num_kv_heads, FULL),
        Attend(
            q="q",
            k="k",
            v="v",
            out="attended",
            heads=a.num_heads,
            kv_heads=a.num_kv_heads,
            head_dim=a.head_dim,
            mask=FULL,
            scale=1 / math.sqrt(a.head_dim),
            site="attended",
            scores_site="scores",
        ),
        Project(
            "attended",
            "attended",
            (Product(at("self_attn.o_proj"), "attention_out", site="attention_out"),),
        ),
        Add("x", "attention_out", "x", site="residual"),
        Norm("x", "h", at("post_attention_layernorm"), site="mlp_in"),
        Project(
            "h",
            "mlp_in",
            (
                Product(at("mlp.gate_proj"), "gate", site="gate"),
                # A factor of its rows passes the product and down_proj.
                Product(at("mlp.up_proj"), "up", site="up", late_factor=True),
            ),
        ),
        Gate("gate", "up", "product", "silu", site="product"),
        Project("product", "product", (Product(at("mlp.down_proj"), "mlp_out", site="mlp_out"),)),
        Add("x", "mlp_out", "x", site="residual"),
    )


def sites(a: Qwen3Architecture) -> tuple[Site, ...]:
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
            norm="post_attention_layernorm",
        ),
        Site("product", ("mlp.down_proj",), width=a.intermediate_size, matrix="mlp.up_proj"),
    )
