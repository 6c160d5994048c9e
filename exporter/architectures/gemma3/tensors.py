"""The tensors of a Gemma 3 text model."""

from exporter.architectures.family import layer_name
from exporter.architectures.gemma3.config import Gemma3Architecture
from exporter.architectures.grouped import grouped_shapes


def expected_shapes(a: Gemma3Architecture) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of the backbone."""
    hidden = a.hidden_size
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "pre_feedforward_layernorm": (hidden,),
        "post_feedforward_layernorm": (hidden,),
        **grouped_shapes(
            hidden=hidden,
            inner=a.intermediate_size,
            heads=a.num_heads,
            kv_heads=a.num_kv_heads,
            head_dim=a.head_dim,
        ),
    }
    return {"embed_tokens.weight": (a.vocab_size, hidden), "norm.weight": (hidden,)} | {
        layer_name(i, f"{name}.weight"): shape
        for i in range(a.num_layers)
        for name, shape in layer.items()
    }
