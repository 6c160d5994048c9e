"""Tensor names of llama.cpp for those of a checkpoint, and their order in a file."""

from exporter.checkpoint.records import Checkpoint, TensorInfo

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


def gguf_tensors(checkpoint: Checkpoint) -> list[tuple[str, TensorInfo]]:
    """Return (name in the file, tensor) in the file's order: Dense, then shard by shard."""
    dense = [(f"dense_{i}.weight", checkpoint.tensors[d.tensor])
             for i, d in enumerate(checkpoint.dense, start=2)]  # fmt: skip
    in_dense = {d.tensor for d in checkpoint.dense}
    backbone = sorted(
        (info.file.name, name) for name, info in checkpoint.tensors.items() if name not in in_dense
    )
    return dense + [(gguf_name(name), checkpoint.tensors[name]) for _, name in backbone]


def gguf_name(name: str) -> str:
    """Return the name of a backbone tensor in a GGUF."""
    if name == "embed_tokens.weight":
        return "token_embd.weight"
    if name == "norm.weight":
        return "output_norm.weight"
    _, block, rest = name.split(".", 2)
    return f"blk.{block}.{BLOCK_NAMES[rest.removesuffix('.weight')]}.weight"
