"""The tensors of a Qwen3 model."""

from exporter.architectures.qwen3.config import Qwen3Architecture


def expected_shapes(a: Qwen3Architecture) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of the backbone."""
    q, kv = a.num_heads * a.head_dim, a.num_kv_heads * a.head_dim
    hidden, inner = a.hidden_size, a.intermediate_size
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "self_attn.q_norm": (a.head_dim,),
        "self_attn.k_norm": (a.head_dim,),
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    return {"embed_tokens.weight": (a.vocab_size, hidden), "norm.weight": (hidden,)} | {
        f"layers.{i}.{name}.weight": shape
        for i in range(a.num_layers)
        for name, shape in layer.items()
    }
