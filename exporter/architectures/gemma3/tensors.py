"""The tensors of a Gemma 3 text model."""

from exporter.architectures.gemma3.config import Gemma3Architecture


def expected_shapes(a: Gemma3Architecture) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of the backbone."""
    q, kv = a.num_heads * a.head_dim, a.num_kv_heads * a.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (a.vocab_size, a.hidden_size),
        "norm.weight": (a.hidden_size,),
    }
    for i in range(a.num_layers):
        at = f"layers.{i}."
        for norm in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            shapes[f"{at}{norm}_layernorm.weight"] = (a.hidden_size,)
        shapes[at + "self_attn.q_norm.weight"] = shapes[at + "self_attn.k_norm.weight"] = (
            a.head_dim,
        )
        shapes[at + "self_attn.q_proj.weight"] = (q, a.hidden_size)
        shapes[at + "self_attn.k_proj.weight"] = (kv, a.hidden_size)
        shapes[at + "self_attn.v_proj.weight"] = (kv, a.hidden_size)
        shapes[at + "self_attn.o_proj.weight"] = (a.hidden_size, q)
        shapes[at + "mlp.gate_proj.weight"] = (a.intermediate_size, a.hidden_size)
        shapes[at + "mlp.up_proj.weight"] = (a.intermediate_size, a.hidden_size)
        shapes[at + "mlp.down_proj.weight"] = (a.hidden_size, a.intermediate_size)
    return shapes
