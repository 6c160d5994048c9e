"""config.json -> the numbers of an EmbeddingGemma2TextModel, or why it is not one.

The text part stands alone (`embedding_gemma2_text`) or as `text_config` of the whole model
(`embedding_gemma2`), whose towers for images and sound no text passes
(https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/models/embedding_gemma2/configuration_embedding_gemma2.py).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from exporter.architectures.numbers import check_layer_types, take_heads, take_layers
from exporter.checkpoint.contents import Architecture
from exporter.checkpoint.json_file import take_float, take_int
from exporter.errors import BadInput

SLIDING, FULL = "sliding_attention", "full_attention"
CONTEXT = 8192
"""Tokens that the model was made for. config.json counts 262,144 positions, whose angles in two
tables would be larger than the model."""
PATTERN = 6
GLOBAL_HEAD_DIM, GLOBAL_KV_HEADS = 512, 1
"""Of full attention, where a config was written by hand and leaves them to transformers."""
OTHER_CONFIGS = ("vision_config", "audio_config")
ACTIVATION = "gelu_pytorch_tanh"


class EmbeddingGemma2Architecture(Architecture):
    """The numbers of an EmbeddingGemma2TextModel that its graph needs.

    `window_radius`: positions see each other in a sliding layer when |i - j| <= it. `head_dim` and
    `num_kv_heads` are those of sliding layers, `global_...` those of full ones; the last layer is
    always full. `per_layer_width`: of what each layer is given of the embeddings.
    `projection_dim`: of the vector, behind the projection inside the model.
    """

    model_type: Literal["embedding_gemma2_text"] = "embedding_gemma2_text"
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    global_kv_heads: int
    global_head_dim: int
    rms_norm_eps: float
    rope_theta: float
    rope_local_theta: float
    window_radius: int
    per_layer_width: int
    projection_dim: int
    saved_positions: int
    other_inputs: tuple[str, ...]
    """Parts of the config for images and sound."""

    def heads_of(self, kind: str) -> tuple[int, int]:
        """Return (KV heads, width of a head) of the layers of a type."""
        if kind == FULL:
            return self.global_kv_heads, self.global_head_dim
        return self.num_kv_heads, self.head_dim


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a config.json that is the text model's."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def obstacle(config: Mapping[str, Any]) -> str | None:
    """Return what keeps this config from the built graph, or None where nothing does."""
    text = text_part(config)
    if text.get("hidden_activation", ACTIVATION) != ACTIVATION:
        return f"hidden_activation is {text['hidden_activation']!r}, not {ACTIVATION!r}"
    if text.get("attention_bias"):
        return "attention_bias is true"
    if _rope_types(text) - {"default"}:
        return f"RoPE scaling is {', '.join(sorted(_rope_types(text)))}, not default"
    return None


def read_architecture(config: Mapping[str, Any], *, path: Path) -> EmbeddingGemma2Architecture:
    """Return the architecture in a config for which `obstacle` is None. Raises BadInput naming the
    key."""
    text = text_part(config)
    layers = take_layers(text, path=path)
    types = _layer_types(text, layers, path=path)
    sliding = take_heads(text, path=path)
    kv_heads, head_dim = _global_heads(text, types, path=path)
    whole = {**text, "num_key_value_heads": kv_heads, "head_dim": head_dim}
    full = take_heads(whole, path=path)
    positions = take_int(text, "max_position_embeddings", path=path)
    return EmbeddingGemma2Architecture(
        vocab_size=take_int(text, "vocab_size", path=path),
        hidden_size=take_int(text, "hidden_size", path=path),
        intermediate_size=take_int(text, "intermediate_size", path=path),
        num_layers=layers,
        num_heads=sliding.queries,
        num_kv_heads=sliding.keys,
        head_dim=sliding.width,
        global_kv_heads=full.keys,
        global_head_dim=full.width,
        max_positions=min(positions, CONTEXT),
        saved_positions=positions,
        rms_norm_eps=take_float(text, "rms_norm_eps", path=path, default=1e-6),
        rope_theta=_theta(text, FULL, 1e6, path=path),
        rope_local_theta=_theta(text, SLIDING, 1e4, path=path),
        layer_types=types,
        window_radius=take_int(text, "sliding_window", path=path),
        per_layer_width=take_int(text, "hidden_size_per_layer_input", path=path),
        projection_dim=take_int(text, "embedding_dim", path=path),
        other_inputs=tuple(key for key in OTHER_CONFIGS if isinstance(config.get(key), dict)),
    )


def _layer_types(text: Mapping[str, Any], layers: int, *, path: Path) -> tuple[str, ...]:
    types = text.get("layer_types")
    if types is None:
        types = [SLIDING if (i + 1) % PATTERN else FULL for i in range(layers)]
    found = check_layer_types(types, layers=layers, known=(SLIDING, FULL), path=path)
    # transformers makes the last one full, whatever the file says.
    return (*found[:-1], FULL)


def _global_heads(
    text: Mapping[str, Any], types: tuple[str, ...], *, path: Path
) -> tuple[object, object]:
    """Return num_key_value_heads and head_dim of full attention: transformers saves them layer by
    layer, as what differs from the others."""
    own = text.get("per_layer_config")
    if own is None:
        return (
            text.get("num_global_key_value_heads", GLOBAL_KV_HEADS),
            text.get("global_head_dim", GLOBAL_HEAD_DIM),
        )
    full = {i for i, kind in enumerate(types) if kind == FULL}
    if not isinstance(own, dict) or not all(
        isinstance(v, dict) and i.isdecimal() for i, v in own.items()
    ):
        raise BadInput(f"'{path}': per_layer_config is no object of objects, one a layer")
    own = {int(i): v for i, v in own.items()}  # "5", or "05" where there are more than ten
    known = {"num_key_value_heads", "head_dim"}
    strange = sorted(
        f"layer {i}: {key}"
        for i, v in own.items()
        for key in v
        if i not in full or key not in known
    )
    if strange:
        raise BadInput(
            f"'{path}': per_layer_config changes what this graph has one of ({strange[0]}); known "
            f"are {' and '.join(sorted(known))} of the full_attention layers"
        )
    usual = (text.get("num_key_value_heads"), text.get("head_dim"))
    found = [
        (v.get("num_key_value_heads", usual[0]), v.get("head_dim", usual[1]))
        for v in (own.get(i, {}) for i in sorted(full))
    ]
    if any(heads != found[0] for heads in found):
        raise BadInput(
            f"'{path}': per_layer_config gives the full_attention layers heads of several kinds; "
            "this graph has one"
        )
    return found[0]


def _theta(text: Mapping[str, Any], kind: str, default: float, *, path: Path) -> float:
    by_type = text.get("rope_parameters")
    if by_type is None:
        return default
    own = by_type.get(kind) if isinstance(by_type, dict) else None
    if not isinstance(own, dict):
        raise BadInput(f"'{path}': rope_parameters has no object for {kind}")
    return take_float(own, "rope_theta", path=path, default=default)


def _rope_types(text: Mapping[str, Any]) -> set[str]:
    by_type = text.get("rope_parameters")
    found = by_type.values() if isinstance(by_type, dict) else ()
    return {str(v.get("rope_type", "default")) for v in found if isinstance(v, dict)}
