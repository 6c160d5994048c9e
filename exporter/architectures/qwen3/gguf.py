"""A causal Qwen 3 model as llama.cpp knows it: `qwen3`."""

from collections.abc import Sequence
from typing import Any

from exporter.architectures.family import TABLE, name_in_layer
from exporter.architectures.qwen3.config import Qwen3Architecture
from exporter.architectures.qwen3.findings import END
from exporter.checkpoint.contents import Architecture, Checkpoint
from exporter.errors import BadInput

BLOCK_NAMES = {
    "input_layernorm": "attn_norm",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.k_proj": "attn_k",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.v_proj": "attn_v",
}


class Qwen3Gguf:
    """See `exporter.architectures.family.GgufFamily`."""

    architecture = "qwen3"
    poolings, usual_poolings = ("last", "mean"), ("last",)
    tokenizer, pre = "gpt2", "qwen2"
    adds = ("eos",)
    end = END
    dense = sliding = False
    layer_tensors = tuple(BLOCK_NAMES.values())
    other_tensors = ("token_embd", "output_norm")

    def tensor_name(self, name: str) -> str:
        if name == TABLE:
            return "token_embd.weight"
        if name == "norm.weight":
            return "output_norm.weight"
        block, rest = name_in_layer(name.removesuffix(".weight"))
        return f"blk.{block}.{BLOCK_NAMES[rest]}.weight"

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise BadInput where llama.cpp would load the file and compute something else."""
        if checkpoint.dense:
            raise BadInput(
                f"'{checkpoint.dense[0].path}' is a Dense module, which llama.cpp does not apply "
                "to this architecture; export ONNX instead: lawvault export onnx"
            )

    def keys(self, architecture: Architecture, *, file_type: int) -> Sequence[tuple[str, Any]]:
        a = architecture
        assert isinstance(a, Qwen3Architecture)
        return (
            ("block_count", a.num_layers),
            ("context_length", a.max_positions),
            ("embedding_length", a.hidden_size),
            ("feed_forward_length", a.intermediate_size),
            ("head_count", a.num_heads),
            ("head_count_kv", a.num_kv_heads),
            ("rope_freq_base", a.rope_theta),
            ("layer_norm_rms_eps", a.rms_norm_eps),
            ("key_length", a.head_dim),
            ("value_length", a.head_dim),
            ("file_type", file_type),
        )

    def tokenizer_keys(self, architecture: Architecture) -> Sequence[tuple[str, Any]]:
        del architecture
        return ()
