"""config.json -> the numbers of a causal Qwen3Model, or why it is not one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from exporter.architectures.numbers import take_heads, take_layers
from exporter.checkpoint.contents import Architecture
from exporter.checkpoint.json_file import take_float, take_int
from exporter.errors import BadInput

FULL = "full_attention"
"""How transformers calls the layers of a model without sliding windows, which is all there are."""


class Qwen3Architecture(Architecture):
    """The numbers of a causal Qwen3Model that its graph needs."""

    model_type: Literal["qwen3"] = "qwen3"
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    tied: bool
    """Whether the language model that it was trained from reads its embedding table as output
    matrix too. No vector depends on it."""


def obstacle(config: Mapping[str, Any]) -> str | None:
    """Return what keeps this config from the built graph and GGUF, or None where nothing does."""
    if config.get("use_sliding_window"):
        return "use_sliding_window is true: layers of a sliding window are not built"
    types = config.get("layer_types")
    if isinstance(types, list) and set(map(str, types)) - {FULL}:
        return f"layer_types names {', '.join(sorted(set(map(str, types)) - {FULL}))}"
    if config.get("is_causal") is False or config.get("use_bidirectional_attention"):
        return "attention is bidirectional, not causal"
    if config.get("hidden_act", "silu") != "silu":
        return f"hidden_act is {config['hidden_act']!r}, not 'silu'"
    if config.get("attention_bias"):
        return "attention_bias is true"
    rope = _rope(config)
    kind = str(rope.get("rope_type", rope.get("type", "default")))
    if kind != "default":
        return f"RoPE scaling is {kind}, not default"
    return None


def read_architecture(config: Mapping[str, Any], *, path: Path) -> Qwen3Architecture:
    """Return the architecture in a config for which `obstacle` is None.

    Reads the spelling of transformers 4.57 (rope_theta) and of 5 (rope_parameters). Raises BadInput
    naming the key.
    """
    layers = take_layers(config, path=path)
    heads = take_heads(config, path=path)
    types = config.get("layer_types")
    if types is not None and (not isinstance(types, list) or len(types) != layers):
        raise BadInput(f"'{path}': layer_types must name {layers} layers, each one {FULL}")
    rope = _rope(config)
    return Qwen3Architecture(
        vocab_size=take_int(config, "vocab_size", path=path),
        hidden_size=take_int(config, "hidden_size", path=path),
        intermediate_size=take_int(config, "intermediate_size", path=path),
        num_layers=layers,
        num_heads=heads.queries,
        num_kv_heads=heads.keys,
        head_dim=heads.width,
        max_positions=take_int(config, "max_position_embeddings", path=path),
        rms_norm_eps=take_float(config, "rms_norm_eps", path=path, default=1e-6),
        rope_theta=take_float(
            rope if "rope_theta" in rope else config, "rope_theta", path=path, default=1e4
        ),
        tied=config.get("tie_word_embeddings") is True,
        layer_types=(FULL,) * layers,
    )


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("rope_parameters", "rope_scaling"):
        if isinstance(config.get(key), dict):
            found: Mapping[str, Any] = config[key]
            return found
    return {}
