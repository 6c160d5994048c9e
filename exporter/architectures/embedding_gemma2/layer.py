"""The layers of an EmbeddingGemma2TextModel.

`x = x + post_norm(f(pre_norm(x)))` as in Gemma 3, but with RMSNorm whose gain is its weight,
attention whose scores are not scaled and whose values are normalized without a gain, wider heads
that share one key in full attention, and a third part: what the layer makes of the embeddings
(per-layer input) gates a detour of the stream. Behind each layer the stream takes a stored factor
(https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/models/embedding_gemma2/modeling_embedding_gemma2.py).
"""

import math
from functools import partial

from exporter.architectures.embedding_gemma2.config import EmbeddingGemma2Architecture
from exporter.architectures.family import Fp16Plan, HeadNorm, Site, layer_name
from exporter.architectures.grouped import (
    HEAD_NORMS,
    At,
    attention_steps,
    grouped_sites,
    mlp_chain,
    mlp_steps,
)
from exporter.architectures.steps import Add, Copy, Gate, Norm, Product, Project, Scale, Step

EMBEDDED = "e"
"""The scaled embeddings, which every layer is given beside the stream."""
SCALE = 1.0
"""Of attention's scores, whatever the width of a head."""
PER_LAYER, PER_LAYER_NORM = "per_layer_model_projection", "per_layer_projection_norm"
"""Of the whole model in its files, of each layer here: see `tensors`."""
GATE, BACK = "ple_block.per_layer_input_gate", "ple_block.per_layer_projection"
BACK_NORM = "ple_block.post_per_layer_input_norm"
FACTOR = "layer_scalar"

FP16 = Fp16Plan(
    residual_norms=("post_attention_layernorm", "post_feedforward_layernorm", BACK_NORM),
    head_norms=(
        *HEAD_NORMS,
        HeadNorm("self_attn.v_proj", "self_attn.v_norm", "value"),
        HeadNorm("self_attn.o_proj", "post_attention_layernorm", "attention_out"),
        HeadNorm(PER_LAYER, PER_LAYER_NORM, "per_layer"),
        HeadNorm(BACK, BACK_NORM, "per_layer_out"),
    ),
    chains=(mlp_chain("post_feedforward_layernorm"),),
    undone_by=(PER_LAYER, GATE),
)


def entry_steps() -> tuple[Step, ...]:
    """Return what layers are given: the stream, and the embeddings that it begins with."""
    return (Copy("x", EMBEDDED),)


def layer_steps(a: EmbeddingGemma2Architecture, index: int) -> tuple[Step, ...]:
    """Return the steps of a layer."""
    at = partial(layer_name, index)
    kind = a.layer_types[index]
    kv_heads, head_dim = a.heads_of(kind)
    return (
        Norm("x", "h", at("input_layernorm"), site="attention_in"),
        *attention_steps(
            at,
            heads=a.num_heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            kind=kind,
            scale=SCALE,
            norms_values=True,
        ),
        Norm("attention_out", "normed", at("post_attention_layernorm"), site="post_norm"),
        Add("x", "normed", "x", site="residual"),
        Norm("x", "h", at("pre_feedforward_layernorm"), site="mlp_in"),
        *mlp_steps(at, "gelu_tanh"),
        Norm("mlp_out", "normed", at("post_feedforward_layernorm"), site="post_norm"),
        Add("x", "normed", "x", site="residual"),
        *_per_layer_steps(at),
        Scale("x", "x", at(FACTOR)),
    )


def _per_layer_steps(at: At) -> tuple[Step, ...]:
    """Return the steps of the third part. What a layer is given of the embeddings is made where it
    is read: of all layers at once it would be as many rows, and all of them held at a time."""
    return (
        Copy(EMBEDDED, "h", site="embedded"),
        Project("h", "embedded", (Product(at(PER_LAYER), "per_layer", site="per_layer"),)),
        Norm("per_layer", "per_layer", at(PER_LAYER_NORM)),
        Copy("x", "h", site="gate_in"),
        Project("h", "gate_in", (Product(at(GATE), "per_layer_gate", site="per_layer_gate"),)),
        Gate("per_layer_gate", "per_layer", "gated", "gelu_tanh", site="gated"),
        Project("gated", "gated", (Product(at(BACK), "per_layer_out", site="per_layer_out"),)),
        Norm("per_layer_out", "normed", at(BACK_NORM), site="post_norm"),
        Add("x", "normed", "x", site="residual"),
    )


def sites(a: EmbeddingGemma2Architecture) -> tuple[Site, ...]:
    """Return the inputs of a layer's matrices.

    The stream and the embeddings are read by others too and take no factors.
    """
    return (
        *grouped_sites(
            hidden=a.hidden_size,
            inner=a.intermediate_size,
            heads=a.num_heads,
            kv_heads=a.num_kv_heads,
            head_dim=math.gcd(a.head_dim, a.global_head_dim),
            mlp_norm="pre_feedforward_layernorm",
            norms_values=True,
        ),
        Site("embedded", (PER_LAYER,), width=a.hidden_size),
        Site("gate_in", (GATE,), width=a.hidden_size),
        Site("gated", (BACK,), width=a.per_layer_width, norm=PER_LAYER_NORM),
    )
