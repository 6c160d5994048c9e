"""A bidirectional Gemma 3 text model as llama.cpp knows it: `gemma-embedding`."""

from collections.abc import Sequence
from typing import Any

from exporter.architectures.family import TABLE, name_in_layer
from exporter.architectures.gemma3.config import Gemma3Architecture
from exporter.checkpoint.contents import Architecture, Checkpoint
from exporter.errors import BadInput

NEXT = "export ONNX instead: lawvault export onnx"
PERIOD = 6  # llama.cpp's default for this architecture: five sliding layers, then a full one
BLOCK_NAMES = {
    "input_layernorm": "attn_norm",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "post_attention_layernorm": "post_attention_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.k_proj": "attn_k",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.v_proj": "attn_v",
}


class GemmaEmbedding:
    """See `exporter.architectures.family.GgufFamily`."""

    architecture = "gemma-embedding"
    poolings = usual_poolings = ("mean",)
    tokenizer, pre = "llama", "default"
    adds = ("bos", "eos")
    end = ""
    dense = sliding = True
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
        """Raise BadInput where llama.cpp would load the file and compute something else, or
        abort."""
        a = checkpoint.architecture
        assert isinstance(a, Gemma3Architecture)
        if checkpoint.pooling != "mean":
            raise BadInput(
                f"pooling is '{checkpoint.pooling}'; this architecture is written with mean. {NEXT}"
            )
        if a.query_pre_attn_scalar != a.head_dim:
            raise BadInput(
                f"query_pre_attn_scalar is {a.query_pre_attn_scalar:g} and head_dim {a.head_dim}; "
                f"llama.cpp scales by 1/sqrt(head_dim) whatever the file says. {NEXT}"
            )
        pattern = tuple(
            "full_attention" if i % PERIOD == PERIOD - 1 else "sliding_attention"
            for i in range(a.num_layers)
        )
        if a.layer_types != pattern:
            first = next(i for i, kind in enumerate(a.layer_types) if kind != pattern[i])
            raise BadInput(
                f"layer {first} is {a.layer_types[first]}; llama.cpp takes every sixth layer as "
                f"full attention and the rest as sliding. {NEXT}"
            )
        if a.num_layers < PERIOD:
            # ggml-backend.cpp, GGML_ASSERT(buffer): the mask of the full layers is never allocated.
            raise BadInput(
                f"the model has {a.num_layers} layers, none with full attention; llama.cpp aborts "
                f"on the first text. {NEXT}"
            )

    def keys(self, architecture: Architecture, *, file_type: int) -> Sequence[tuple[str, Any]]:
        a = architecture
        assert isinstance(a, Gemma3Architecture)
        return (
            ("block_count", a.num_layers),
            ("context_length", a.max_positions),
            ("embedding_length", a.hidden_size),
            ("feed_forward_length", a.intermediate_size),
            ("head_count", a.num_heads),
            ("head_count_kv", a.num_kv_heads),
            ("rope_freq_base", a.rope_theta),
            ("rope_freq_base_swa", a.rope_local_theta),
            ("layer_norm_rms_eps", a.rms_norm_eps),
            ("key_length", a.head_dim),
            ("value_length", a.head_dim),
            ("file_type", file_type),
            ("sliding_window", a.sliding_window),
        )

    def tokenizer_keys(self, architecture: Architecture) -> Sequence[tuple[str, Any]]:
        del architecture
        return ()
