"""Write a `gemma-embedding` GGUF, tensor by tensor; byte-identical with llama.cpp's converter.

Names, order and values follow conversion/gemma.py of llama.cpp (class EmbeddingGemma) with
`--sentence-transformers-dense-modules`; a test runs that converter and compares the bytes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import yaml  # type: ignore[import-untyped]

from exporter.checkpoint.records import Checkpoint, TensorInfo
from exporter.checkpoint.safetensors_file import read_row_blocks, read_tensor
from exporter.errors import BadInput
from exporter.gguf.tokenizer import read_vocabulary
from exporter.gguf.types import QTYPE, GgufType, bits_per_weight, pack
from exporter.manifest import TensorRecord

Q8_0_BLOCK_BYTES = 34  # an fp16 scale, then 32 signed bytes
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
    return dense + [(_gguf_name(name), checkpoint.tensors[name]) for _, name in backbone]


def _gguf_name(name: str) -> str:
    if name == "embed_tokens.weight":
        return "token_embd.weight"
    if name == "norm.weight":
        return "output_norm.weight"
    _, block, rest = name.split(".", 2)
    return f"blk.{block}.{BLOCK_NAMES[rest.removesuffix('.weight')]}.weight"


def write_gguf(
    checkpoint: Checkpoint,
    path: Path,
    kind: GgufType,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[TensorRecord, ...]:
    """Write the file. Returns what was stored. Memory holds one block of rows at a time.

    `on_progress` is called with the number of weights written since the last call. Raises
    BadInput where a weight does not fit into fp16.
    """
    writer = gguf.GGUFWriter(path=None, arch="gemma-embedding")
    tensors = gguf_tensors(checkpoint)
    records = tuple(_announce(writer, name, info, kind) for name, info in tensors)
    add_metadata(writer, checkpoint, kind)
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        output = writer.fout[0]
        writer.write_padding(output, output.tell())
        for name, info in tensors:
            stored, _ = kind.storage(info.shape)
            written = 0
            for rows in _blocks(name, info):
                data = pack(rows, stored)
                _check_range(data, stored, info.name)
                output.write(data.data)
                written += data.nbytes
                if on_progress is not None:
                    on_progress(rows.size)
            writer.write_padding(output, written)
    finally:
        writer.close()
    return records


def _announce(writer: Any, name: str, info: TensorInfo, kind: GgufType) -> TensorRecord:
    """Tell the writer of a tensor that will follow. Returns its record."""
    stored, reason = kind.storage(info.shape)
    block, size = gguf.GGML_QUANT_SIZES[stored]
    count = int(np.prod(info.shape))
    plain = {QTYPE.F32: np.float32, QTYPE.F16: np.float16}.get(stored)
    shape = info.shape if plain else gguf.quant_shape_to_byte_shape(info.shape, stored)
    writer.add_tensor_info(
        name, shape, np.dtype(plain or np.uint8), count // block * size, raw_dtype=stored
    )
    return TensorRecord(
        name=name, dtype=stored.name, shape=info.shape,
        bits_per_weight=bits_per_weight(stored), reason=reason,
    )  # fmt: skip


def _check_range(data: npt.NDArray[np.uint8], stored: Any, name: str) -> None:
    """Raise BadInput where fp16 weights, or the fp16 scales of Q8_0, became infinite."""
    if stored is QTYPE.F16:
        halves, limit = data.view(np.float16), "65,504"
    elif stored is QTYPE.Q8_0:
        scales = data.reshape(-1, Q8_0_BLOCK_BYTES)[:, :2].copy()
        halves, limit = scales.view(np.float16), "127 times 65,504"
    else:
        return
    if not np.isfinite(halves).all():
        raise BadInput(
            f"tensor '{name}' has weights beyond {limit}, which fp16 cannot hold; "
            "export --type f32 or bf16"
        )


def _blocks(name: str, info: TensorInfo) -> Iterator[npt.NDArray[np.float32]]:
    if len(info.shape) == 2:
        yield from read_row_blocks(info)
    else:
        # GGUF norms hold the whole gain.
        shift = np.float32(1.0 if name.endswith("norm.weight") else 0.0)
        yield read_tensor(info) + shift


def _read_metadata(folder: Path, parameters: int) -> Any:
    """Return what gguf finds in the folder's name, model card and generation_config.json."""
    try:
        metadata = gguf.Metadata.load(None, folder, None, parameters)
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError, ValueError) as error:
        raise BadInput(
            f"the front matter of '{folder / 'README.md'}' cannot be read "
            f"({' '.join(str(error).split())}); mend or remove it"
        ) from None
    if metadata.name is None:
        metadata.name = folder.name
    return metadata


def add_metadata(writer: Any, checkpoint: Checkpoint, kind: GgufType) -> None:
    """Add all keys in upstream's order."""
    a = checkpoint.architecture
    assert a is not None
    total, shared, expert, expert_count = writer.get_total_parameter_count()
    metadata = _read_metadata(checkpoint.path, total)
    if metadata.size_label is None and total > 0:
        metadata.size_label = gguf.size_label(total, shared, expert, expert_count)
    writer.add_type(gguf.GGUFType.MODEL)
    metadata.set_gguf_meta_model(writer)
    writer.add_block_count(a.num_layers)
    writer.add_context_length(a.max_positions)
    writer.add_embedding_length(a.hidden_size)
    writer.add_feed_forward_length(a.intermediate_size)
    writer.add_head_count(a.num_heads)
    writer.add_head_count_kv(a.num_kv_heads)
    writer.add_rope_freq_base(a.rope_theta)
    writer.add_rope_freq_base_swa(a.rope_local_theta)
    writer.add_layer_norm_rms_eps(a.rms_norm_eps)
    writer.add_key_length(a.head_dim)
    writer.add_value_length(a.head_dim)
    writer.add_file_type(kind.file_type)
    writer.add_sliding_window(a.sliding_window)
    for i, dense in enumerate(checkpoint.dense, start=2):
        writer.add_dense_features_dims(f"dense_{i}", dense.in_features, dense.out_features)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    pieces, scores, types = read_vocabulary(checkpoint.path, size=a.vocab_size)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    special = gguf.SpecialVocab(checkpoint.path, n_vocab=len(pieces))
    # tokenizer.json decides (`check_tokenizer` saw it add both), as in upstream's own gguf-py;
    # 0.19.0 on PyPI lets tokenizer_config.json overrule it, and a text would lose its EOS.
    special.add_special_token.update(bos=True, eos=True)
    special.add_to_gguf(writer, quiet=True)
    writer.add_add_space_prefix(False)
