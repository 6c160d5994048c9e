"""A BertModel as llama.cpp knows it: `bert`."""

from collections.abc import Sequence
from typing import Any

from exporter.architectures.bert.config import BertArchitecture
from exporter.architectures.family import name_in_layer
from exporter.checkpoint.contents import Architecture, Checkpoint

NAMES = {
    "embed_tokens": "token_embd",
    "embed_positions": "position_embd",
    "embed_segments": "token_types",
    "embed_norm": "token_embd_norm",
}
BLOCK_NAMES = {
    "attention.output.LayerNorm": "attn_output_norm",
    "attention.output.dense": "attn_output",
    "attention.self.key": "attn_k",
    "attention.self.query": "attn_q",
    "attention.self.value": "attn_v",
    "intermediate.dense": "ffn_up",
    "output.LayerNorm": "layer_output_norm",
    "output.dense": "ffn_down",
}


class BertEncoder:
    """See `exporter.architectures.family.GgufFamily`."""

    architecture = "bert"
    poolings = usual_poolings = ("mean", "cls")
    tokenizer, pre = "bert", "jina-v2-en"
    adds = ("bos", "eos")
    end = ""
    dense = sliding = False
    layer_tensors = tuple(BLOCK_NAMES.values())
    other_tensors = tuple(NAMES.values())

    def tensor_name(self, name: str) -> str:
        """Return `blk.0.attn_q.bias` of `layers.0.attention.self.query.bias`."""
        whole, _, part = name.rpartition(".")
        if whole in NAMES:
            return f"{NAMES[whole]}.{part}"
        block, short = name_in_layer(whole)
        return f"blk.{block}.{BLOCK_NAMES[short]}.{part}"

    def check(self, checkpoint: Checkpoint) -> None:
        """See `GgufFamily.check`: nothing of this architecture is left unsaid."""

    def keys(self, architecture: Architecture, *, file_type: int) -> Sequence[tuple[str, Any]]:
        a = architecture
        assert isinstance(a, BertArchitecture)
        return (
            ("block_count", a.num_layers),
            ("context_length", a.max_positions),
            ("embedding_length", a.hidden_size),
            ("feed_forward_length", a.intermediate_size),
            ("head_count", a.num_heads),
            ("layer_norm_eps", a.layer_norm_eps),
            ("file_type", file_type),
            ("causal_attention", False),
        )

    def tokenizer_keys(self, architecture: Architecture) -> Sequence[tuple[str, Any]]:
        assert isinstance(architecture, BertArchitecture)
        return (("token_type_count", architecture.token_types),)
