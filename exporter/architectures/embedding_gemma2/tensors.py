"""The tensors of an EmbeddingGemma2TextModel, as its files have them and as layers read them."""

import math
import re
from collections.abc import Mapping

from exporter.architectures.embedding_gemma2.config import EmbeddingGemma2Architecture
from exporter.architectures.embedding_gemma2.layer import FACTOR, PER_LAYER, PER_LAYER_NORM
from exporter.architectures.family import layer_name
from exporter.architectures.grouped import grouped_shapes
from exporter.checkpoint.safetensors_file import TensorInfo, row_part

PROJECTION = "embedding_projection.weight"
OTHER_INPUTS = re.compile(r"(?:^|\.)(?:vision_tower|embed_vision|audio_tower|embed_audio)\.")
"""What images and sound pass, as transformers names it where it loads the text part alone."""


def expected_shapes(a: EmbeddingGemma2Architecture) -> dict[str, tuple[int, ...]]:
    """Return the name in the files and the shape of every tensor that a vector depends on."""
    hidden, width = a.hidden_size, a.per_layer_width
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (a.vocab_size, hidden),
        "norm.weight": (hidden,),
        PROJECTION: (a.projection_dim, hidden),
        f"ple.{PER_LAYER}.weight": (a.num_layers * width, hidden),
        f"ple.{PER_LAYER_NORM}.weight": (width,),
    }
    for i, kind in enumerate(a.layer_types):
        kv_heads, head_dim = a.heads_of(kind)
        layer: dict[str, tuple[int, ...]] = {
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "pre_feedforward_layernorm": (hidden,),
            "post_feedforward_layernorm": (hidden,),
            **grouped_shapes(
                hidden=hidden,
                inner=a.intermediate_size,
                heads=a.num_heads,
                kv_heads=kv_heads,
                head_dim=head_dim,
            ),
            "ple_block.per_layer_input_gate": (width, hidden),
            "ple_block.per_layer_projection": (hidden, width),
            "ple_block.post_per_layer_input_norm": (hidden,),
        }
        shapes |= {layer_name(i, f"{name}.weight"): shape for name, shape in layer.items()}
        shapes[layer_name(i, FACTOR)] = (1,)
    return shapes


def own_tensors(
    a: EmbeddingGemma2Architecture, stored: Mapping[str, TensorInfo]
) -> dict[str, TensorInfo]:
    """Return the tensors as layers read them: each its rows of the one matrix that makes per-layer
    inputs, times the factor that follows it, and the norm that they share."""
    made = dict(stored)
    matrix, norm = (made.pop(f"ple.{name}.weight") for name in (PER_LAYER, PER_LAYER_NORM))
    width, factor = a.per_layer_width, 1 / math.sqrt(a.hidden_size)
    for i in range(a.num_layers):
        rows = row_part(matrix, first=i * width, rows=width, factor=factor)
        made[layer_name(i, f"{PER_LAYER}.weight")] = rows
        made[layer_name(i, f"{PER_LAYER_NORM}.weight")] = norm
        made[layer_name(i, f"{FACTOR}.weight")] = made.pop(layer_name(i, FACTOR))
    return made
