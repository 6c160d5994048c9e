"""config.json -> the numbers of a BertModel or a RobertaModel, or why it is not one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from exporter.checkpoint.contents import Architecture
from exporter.checkpoint.json_file import take_float, take_int
from exporter.errors import BadInput


class BertArchitecture(Architecture):
    """The numbers of a BERT encoder that its graph needs. `max_positions`: tokens that have one."""

    model_type: Literal["bert", "roberta", "xlm-roberta"]
    intermediate_size: int
    num_heads: int
    head_dim: int
    layer_norm_eps: float
    token_types: int
    places: int
    """Rows of the table of positions."""
    padding_id: int | None
    """RoBERTa counts positions from behind this id on, and leaves its tokens out; None: BERT."""


MOST_LAYERS = 1000
"""Twenty times those of the deepest such model; the weights are checked later."""
ATTENTION = "full_attention"
"""The one mask of all layers."""
RELATIVE = "position_embedding_type"


def obstacle(config: Mapping[str, Any]) -> str | None:
    """Return what keeps this config from the built graph, or None where nothing does."""
    if config.get("hidden_act", "gelu") != "gelu":
        return f"hidden_act is {config['hidden_act']!r}, not 'gelu'"
    if (config.get(RELATIVE) or "absolute") != "absolute":
        return f"{RELATIVE} is {config[RELATIVE]!r}, not 'absolute'"
    if config.get("is_decoder"):
        return "is_decoder is true: attention is causal"
    return None


def read_architecture(
    config: Mapping[str, Any], *, path: Path, counts_from_padding: bool
) -> BertArchitecture:
    """Return the architecture in a config for which `obstacle` is None.

    `counts_from_padding`: whether positions begin behind the padding's id, as RoBERTa's do. Raises
    BadInput naming the key.
    """
    layers = take_int(config, "num_hidden_layers", path=path)
    if layers > MOST_LAYERS:  # before a list is made of them
        raise BadInput(f"'{path}': num_hidden_layers is {layers}, more than {MOST_LAYERS}")
    hidden = take_int(config, "hidden_size", path=path)
    heads = take_int(config, "num_attention_heads", path=path)
    if hidden % heads:
        raise BadInput(f"'{path}': hidden_size {hidden} does not divide by {heads} attention heads")
    places = take_int(config, "max_position_embeddings", path=path)
    padding = _padding_id(config, places, path=path) if counts_from_padding else None
    return BertArchitecture(
        model_type=config["model_type"],
        vocab_size=take_int(config, "vocab_size", path=path),
        hidden_size=hidden,
        intermediate_size=take_int(config, "intermediate_size", path=path),
        num_layers=layers,
        num_heads=heads,
        head_dim=hidden // heads,
        max_positions=places if padding is None else places - padding - 1,
        layer_norm_eps=take_float(config, "layer_norm_eps", path=path, default=1e-12),
        layer_types=(ATTENTION,) * layers,
        token_types=take_int(config, "type_vocab_size", path=path),
        places=places,
        padding_id=padding,
    )


def _padding_id(config: Mapping[str, Any], places: int, *, path: Path) -> int:
    """Return pad_token_id, transformers' default where it is not given."""
    found = config.get("pad_token_id", 1)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < places - 1:
        raise BadInput(
            f"'{path}': pad_token_id is {found!r}; positions are counted from it on, and "
            f"max_position_embeddings is {places}"
        )
    return found
