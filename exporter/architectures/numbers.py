"""Numbers of config.json that families of transformers have in common, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.checkpoint.json_file import take_int
from exporter.errors import BadInput

MOST_LAYERS = 1000
"""Ten times those of the deepest model that anyone embeds with; the weights are checked later."""


@dataclass(frozen=True)
class Heads:
    """Heads of attention: of queries, of keys and values, and how wide each is."""

    queries: int
    keys: int
    width: int


def take_layers(config: Mapping[str, Any], *, path: Path) -> int:
    """Return num_hidden_layers, before lists are made of so many. Raises BadInput."""
    layers = take_int(config, "num_hidden_layers", path=path)
    if layers > MOST_LAYERS:
        raise BadInput(f"'{path}': num_hidden_layers is {layers}, more than {MOST_LAYERS}")
    return layers


def check_layer_types(
    types: object, *, layers: int, known: Sequence[str], path: Path
) -> tuple[str, ...]:
    """Return layer_types. Raises BadInput unless it names each layer, by a type of `known`."""
    if not isinstance(types, list) or len(types) != layers or any(t not in known for t in types):
        raise BadInput(
            f"'{path}': layer_types must name {layers} layers, each one of {', '.join(known)}"
        )
    return tuple(types)


def take_heads(config: Mapping[str, Any], *, path: Path) -> Heads:
    """Return heads that are rotated. Raises BadInput for numbers that do not go together."""
    heads = take_int(config, "num_attention_heads", path=path)
    kv_heads = take_int(config, "num_key_value_heads", path=path)
    head_dim = take_int(config, "head_dim", path=path, least=2)
    if heads % kv_heads:
        raise BadInput(f"'{path}': {heads} attention heads do not divide by {kv_heads} KV heads")
    if head_dim % 2:
        raise BadInput(f"'{path}': head_dim is {head_dim}; rotary embedding needs an even one")
    return Heads(heads, kv_heads, head_dim)
