"""config.json -> the numbers of a bidirectional Gemma3TextModel, or why it is not one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from exporter.architectures.numbers import check_layer_types, take_heads, take_layers
from exporter.checkpoint.contents import Architecture
from exporter.checkpoint.json_file import take_float, take_int
from exporter.errors import BadInput

LayerType = Literal["sliding_attention", "full_attention"]


class Gemma3Architecture(Architecture):
    """The numbers of a bidirectional Gemma3TextModel that its graph needs."""

    model_type: Literal["gemma3_text"] = "gemma3_text"
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    rms_norm_eps: float
    query_pre_attn_scalar: float
    rope_theta: float
    rope_local_theta: float
    layer_types: tuple[LayerType, ...]
    sliding_window: int


LAYER_TYPES = get_args(LayerType)


def obstacle(config: Mapping[str, Any]) -> str | None:
    """Return what keeps this config from the built graph and GGUF, or None where nothing does."""
    if config.get("use_bidirectional_attention") is not True:
        return "use_bidirectional_attention is not true: attention is causal"
    if config.get("hidden_activation", "gelu_pytorch_tanh") != "gelu_pytorch_tanh":
        return f"hidden_activation is {config['hidden_activation']!r}, not 'gelu_pytorch_tanh'"
    if config.get("attention_bias"):
        return "attention_bias is true"
    if config.get("attn_logit_softcapping") is not None:
        return "attn_logit_softcapping is set"
    if _rope_types(config) - {"default"}:
        return f"RoPE scaling is {', '.join(sorted(_rope_types(config)))}, not default"
    return None


def read_architecture(config: Mapping[str, Any], *, path: Path) -> Gemma3Architecture:
    """Return the architecture in a config for which `obstacle` is None.

    Reads the spelling of transformers 4.57 (rope_theta, rope_local_base_freq) and of 5
    (rope_parameters by layer type). Raises BadInput naming the key.
    """
    layers = take_layers(config, path=path)
    heads = take_heads(config, path=path)
    types = _layer_types(config, layers, path=path)
    sliding = "sliding_attention" in types
    return Gemma3Architecture(
        vocab_size=take_int(config, "vocab_size", path=path),
        hidden_size=take_int(config, "hidden_size", path=path),
        intermediate_size=take_int(config, "intermediate_size", path=path),
        num_layers=layers,
        num_heads=heads.queries,
        num_kv_heads=heads.keys,
        head_dim=heads.width,
        max_positions=take_int(config, "max_position_embeddings", path=path),
        rms_norm_eps=take_float(config, "rms_norm_eps", path=path, default=1e-6),
        query_pre_attn_scalar=take_float(config, "query_pre_attn_scalar", path=path, default=256),
        rope_theta=_theta(config, "full_attention", "rope_theta", 1e6, path=path),
        rope_local_theta=_theta(
            config, "sliding_attention", "rope_local_base_freq", 1e4, path=path
        ),
        layer_types=types,
        sliding_window=take_int(config, "sliding_window", path=path)
        if sliding
        else int(config.get("sliding_window") or 0),
    )


def _layer_types(config: Mapping[str, Any], layers: int, *, path: Path) -> tuple[Any, ...]:
    types = config.get("layer_types")
    if types is None:
        pattern = config.get("sliding_window_pattern", config.get("_sliding_window_pattern", 6))
        if isinstance(pattern, bool) or not isinstance(pattern, int) or pattern < 1:
            raise BadInput(f"'{path}': sliding_window_pattern is {pattern!r}, not a whole number")
        types = [LAYER_TYPES[(i + 1) % pattern == 0] for i in range(layers)]
    return check_layer_types(types, layers=layers, known=LAYER_TYPES, path=path)


def _theta(
    config: Mapping[str, Any], kind: str, old_key: str, default: float, *, path: Path
) -> float:
    by_type = config.get("rope_parameters")
    if isinstance(by_type, dict) and isinstance(by_type.get(kind), dict):
        return take_float(by_type[kind], "rope_theta", path=path, default=default)
    return take_float(config, old_key, path=path, default=default)


def _rope_types(config: Mapping[str, Any]) -> set[str]:
    found = []
    if isinstance(config.get("rope_scaling"), dict):
        found.append(config["rope_scaling"])
    if isinstance(config.get("rope_parameters"), dict):
        found += [v for v in config["rope_parameters"].values() if isinstance(v, dict)]
    return {str(v.get("rope_type", v.get("type", "default"))) for v in found}
