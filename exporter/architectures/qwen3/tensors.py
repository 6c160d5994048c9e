"""The tensors of a Qwen3 model."""

from exporter.architectures.grouped import grouped_shapes
from exporter.architectures.qwen3.config import Qwen3Architecture


def expected_shapes(a: Qwen3Architecture) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of the backbone."""
    hidden = a.hidden_size
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        **grouped_shapes(
            hidden=hidden,
            inner=a.intermediate_size,
            heads=a.num_heads,
            kv_heads=a.num_kv_heads,
            head_dim=a.head_dim,
        ),
    }
    return {"embed_tokens.weight": (a.vocab_size, hidden), "norm.weight": (hidden,)} | {
        f"layers.{i}.{name}.weight": shape
        for i in range(a.num_layers)
        for name, shape in layer.items()
    }
