"""What the layers of Gemma 3, EmbeddingGemma 2 and Qwen 3 share.

Queries in groups that share keys, each head of both normalized and rotated, and a gated MLP. Norms
around them, masks, scales and activations are a family's own.
"""

from collections.abc import Callable

from exporter.architectures.family import Chain, HeadNorm, Site
from exporter.architectures.steps import (
    Activation,
    Attend,
    Gate,
    Norm,
    Product,
    Project,
    Rotate,
    Step,
)

At = Callable[[str], str]
"""The full name of what is named within the layer."""
HEAD_NORMS = (
    HeadNorm("self_attn.q_proj", "self_attn.q_norm", "query"),
    HeadNorm("self_attn.k_proj", "self_attn.k_norm", "key"),
)


def attention_steps(
    at: At,
    *,
    heads: int,
    kv_heads: int,
    head_dim: int,
    kind: str,
    scale: float,
    norms_values: bool = False,
) -> tuple[Step, ...]:
    """Return the steps from `h` to `attention_out`. `kind`: of the mask and the rotary table;
    `norms_values`: whether each head of values is normalized, without a gain."""
    value_norm = Norm("v", "v", at("self_attn.v_norm"), heads=kv_heads, plain=head_dim)
    return (
        Project(
            "h",
            "attention_in",
            (
                Product(at("self_attn.q_proj"), "q", heads=heads, site="query"),
                Product(at("self_attn.k_proj"), "k", heads=kv_heads, site="key"),
                Product(at("self_attn.v_proj"), "v", heads=kv_heads, site="value"),
            ),
        ),
        Norm("q", "q", at("self_attn.q_norm"), heads=heads),
        Rotate("q", heads, kind),
        Norm("k", "k", at("self_attn.k_norm"), heads=kv_heads),
        Rotate("k", kv_heads, kind),
        *((value_norm,) if norms_values else ()),
        Attend(
            q="q",
            k="k",
            v="v",
            out="attended",
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            mask=kind,
            scale=scale,
            site="attended",
            scores_site="scores",
        ),
        Project(
            "attended",
            "attended",
            (Product(at("self_attn.o_proj"), "attention_out", site="attention_out"),),
        ),
    )


def mlp_steps(at: At, activation: Activation) -> tuple[Step, ...]:
    """Return the steps from `h` to `mlp_out`."""
    return (
        Project(
            "h",
            "mlp_in",
            (
                Product(at("mlp.gate_proj"), "gate", site="gate"),
                # A factor of its rows passes the product and down_proj.
                Product(at("mlp.up_proj"), "up", site="up", late_factor=True),
            ),
        ),
        Gate("gate", "up", "product", activation, site="product"),
        Project("product", "product", (Product(at("mlp.down_proj"), "mlp_out", site="mlp_out"),)),
    )


def grouped_shapes(
    *, hidden: int, inner: int, heads: int, kv_heads: int, head_dim: int
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a layer's matrices and head norms, by their names within it. `inner`:
    channels of the MLP."""
    q, kv = heads * head_dim, kv_heads * head_dim
    return {
        "self_attn.q_norm": (head_dim,),
        "self_attn.k_norm": (head_dim,),
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


def grouped_sites(
    *,
    hidden: int,
    inner: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    mlp_norm: str,
    norms_values: bool = False,
) -> tuple[Site, ...]:
    """Return the inputs of a layer's matrices. `inner`: channels of the MLP; `mlp_norm`: the norm
    before it; `norms_values`: as in `attention_steps`."""
    return (
        Site(
            "attention_in",
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            width=hidden,
            norm="input_layernorm",
        ),
        Site(
            "attended",
            ("self_attn.o_proj",),
            width=heads * head_dim,
            matrix="self_attn.v_proj",
            head_dim=head_dim,
            # Of factors alone, and no factor passes a norm.
            group=1 if norms_values else heads // kv_heads,
            normed=norms_values,
        ),
        Site("mlp_in", ("mlp.gate_proj", "mlp.up_proj"), width=hidden, norm=mlp_norm),
        Site("product", ("mlp.down_proj",), width=inner, matrix="mlp.up_proj"),
    )


def chains(*, attention_norm: str, mlp_norm: str) -> tuple[Chain, ...]:
    """Return the chains of a layer. The norms: what takes up each one's end, "" where that is added
    to the residual stream and shares its factor."""
    return (
        Chain(
            first="self_attn.v_proj",
            second="self_attn.o_proj",
            inner=("value",),
            output="attention_out",
            norm=attention_norm,
            names=("value", "output"),
        ),
        mlp_chain(mlp_norm),
    )


def mlp_chain(norm: str) -> Chain:
    """Return the chain of the gated MLP, ending in `norm`: see `chains`."""
    return Chain(
        first="mlp.up_proj",
        second="mlp.down_proj",
        inner=("up", "product"),
        output="mlp_out",
        norm=norm,
        names=("up", "down"),
    )
