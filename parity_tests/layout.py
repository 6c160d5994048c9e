"""Write a checkpoint in EmbeddingGemma's folder layout from numpy weights; no torch.

The values of the layout (file names, module chain, prompts, ids of the special tokens) are those
of google/embeddinggemma-300m as sentence-transformers 5.1 saves it.
"""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

Array = npt.NDArray[Any]
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
USER_DEFINED = ("<mask>", "\n", "\n\n", "\n\n\n", *("▁" * n for n in range(2, 17)))
PROMPTS = {"query": "task: search result | query: ", "document": "title: none | text: "}
TYPE_USER_DEFINED = 4


def to_bf16(values: Array) -> npt.NDArray[np.uint16]:
    """Round float32 to bf16, nearest even. Returns the bits, same shape."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Return the float32 values of bf16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def save_tensors(path: Path, tensors: Mapping[str, Array], *, dtype: str = "bfloat16") -> None:
    """Write float arrays as one safetensors file; dtype: bfloat16, float16 or float32."""
    names = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
    item = np.dtype(np.uint16 if dtype == "bfloat16" else dtype).itemsize
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, values in sorted(tensors.items()):
        begin, end = end, end + values.size * item
        entry = {"dtype": names[dtype], "shape": list(values.shape), "data_offsets": [begin, end]}
        header[name] = entry
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as handle:
        handle.write(len(raw).to_bytes(8, "little") + raw)
        for _, values in sorted(tensors.items()):
            data = to_bf16(values) if dtype == "bfloat16" else np.asarray(values, dtype)
            handle.write(np.ascontiguousarray(data).tobytes())


def write_json(path: Path, value: Any) -> None:
    """Write JSON as sentence-transformers does: two spaces, no trailing newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2), encoding="utf-8")


def train_tokenizer(folder: Path, texts: Iterable[str], *, vocab_size: int) -> None:
    """Train a SentencePiece BPE with byte fallback and write all tokenizer files to `folder`.

    Same trainer flags as Gemma's: identity normalisation, no space prefix, digits split, runs of
    spaces and newlines as user-defined pieces. Deterministic for the same texts.
    """
    model = io.BytesIO()  # not model_prefix: it would be written into the model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        allow_whitespace_only_pieces=True,
        character_coverage=1.0,
        max_sentencepiece_length=8,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        user_defined_symbols=list(USER_DEFINED),
        num_threads=1,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    write_tokenizer_files(folder)


def write_tokenizer_files(folder: Path, *, max_tokens: int = 512) -> None:
    """Write tokenizer.json (same ids as tokenizer.model) and its configs beside the model.

    Merges come from the pieces, in the order of their scores, as transformers' converter does:
    https://github.com/huggingface/transformers/blob/v4.57.1/src/transformers/convert_slow_tokenizer.py
    """
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for piece, index in vocab.items():
        if model.is_control(index) or model.is_unknown(index) or model.is_byte(index):
            continue
        splits = [(piece[:k], piece[k:]) for k in range(1, len(piece))]
        known = [(vocab[a], vocab[b], a, b) for a, b in splits if a in vocab and b in vocab]
        merges += [(-model.get_score(index), index, *pair) for pair in sorted(known)]
    merges.sort()
    tokenizer = Tokenizer(
        BPE(
            vocab,
            [(m[-2], m[-1]) for m in merges],
            fuse_unk=True,
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(" "), "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>",
        pair="<bos> $A <eos> <bos> $B <eos>",
        special_tokens=[("<bos>", vocab["<bos>"]), ("<eos>", vocab["<eos>"])],
    )
    added = {token: vocab[token] for token in (*SPECIAL, *USER_DEFINED)}
    for token, _ in sorted(added.items(), key=lambda item: item[1]):
        special = token in SPECIAL and token != "<mask>"
        one = [AddedToken(token, normalized=False, special=special)]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(one)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    decoder = {
        str(i): {"content": t, **flags, "special": t in SPECIAL and t != "<mask>"}
        for t, i in sorted(added.items(), key=lambda item: item[1])
    }
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": True,
            "added_tokens_decoder": decoder,
            **names,
            "clean_up_tokenization_spaces": False,
            "model_max_length": max_tokens,
            "padding_side": "right",
            "sp_model_kwargs": None,
            "spaces_between_special_tokens": False,
            "tokenizer_class": "GemmaTokenizer",
            "use_default_system_prompt": False,
        },
    )
    write_json(
        folder / "special_tokens_map.json",
        {name: {"content": token, **flags} for name, token in names.items()},
    )


def write_layout(
    folder: Path,
    backbone: Mapping[str, Array],
    dense: tuple[Array, Array],
    *,
    layers: int,
    hidden: int,
    heads: int,
    head_dim: int,
    intermediate: int,
    vocab: int,
    window: int,
    max_tokens: int,
    dtype: str = "bfloat16",
    matryoshka_dims: tuple[int, ...] = (),
) -> None:
    """Write everything but the tokenizer. dense: (wide, hidden) and (hidden, wide) float32."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(layers)]
    config = {
        "_sliding_window_pattern": 6,
        "architectures": ["Gemma3TextModel"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "bos_token_id": 2,
        "dtype": dtype,
        "eos_token_id": 1,
        "final_logit_softcapping": None,
        "head_dim": head_dim,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": intermediate,
        "layer_types": kinds,
        "max_position_embeddings": max_tokens,
        "model_type": "gemma3_text",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": 1,
        "pad_token_id": 0,
        "query_pre_attn_scalar": head_dim,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "sliding_window": window,
        "transformers_version": "4.57.1",
        "use_bidirectional_attention": True,
        "use_cache": True,
        "vocab_size": vocab,
    }
    write_json(folder / "config.json", config)
    chain = ("Transformer", "Pooling", "Dense", "Dense", "Normalize")
    paths = ("", "1_Pooling", "2_Dense", "3_Dense", "4_Normalize")
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(zip(chain, paths, strict=True))
        ],
    )
    sentence_config: dict[str, Any] = {
        "model_type": "SentenceTransformer",
        "__version__": {
            "sentence_transformers": "5.1.2",
            "transformers": "4.57.1",
            "pytorch": "2.9.1",
        },
        "prompts": PROMPTS,
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    write_json(folder / "config_sentence_transformers.json", sentence_config)
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False}
    )
    modes = (
        "cls_token",
        "mean_tokens",
        "max_tokens",
        "mean_sqrt_len_tokens",
        "weightedmean_tokens",
        "lasttoken",
    )
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": hidden,
            **{f"pooling_mode_{mode}": mode == "mean_tokens" for mode in modes},
            "include_prompt": True,
        },
    )
    for path, weight in zip(("2_Dense", "3_Dense"), dense, strict=True):
        write_json(
            folder / path / "config.json",
            {
                "in_features": weight.shape[1],
                "out_features": weight.shape[0],
                "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity",
            },
        )
        save_tensors(folder / path / "model.safetensors", {"linear.weight": weight}, dtype=dtype)
    (folder / "4_Normalize").mkdir(exist_ok=True)
    save_tensors(folder / "model.safetensors", backbone, dtype=dtype)
    if matryoshka_dims:
        # Where sentence-transformers leaves them: the loss parameters of the model card.
        loss = {"loss": "MultipleNegativesRankingLoss", "matryoshka_dims": list(matryoshka_dims)}
        card = f"### Loss: MatryoshkaLoss\n\n```json\n{json.dumps(loss, indent=4)}\n```\n"
        (folder / "README.md").write_text(card, "utf-8")


def random_weights(
    seed: int,
    *,
    layers: int,
    hidden: int,
    heads: int,
    head_dim: int,
    intermediate: int,
    vocab: int,
    wide: int,
) -> tuple[dict[str, Array], tuple[Array, Array]]:
    """Return (backbone, dense) of plausible scale: unit-gain matrices, norms near 1. float32."""
    rng = np.random.default_rng(seed)

    def matrix(out: int, into: int) -> Array:
        return (rng.standard_normal((out, into), dtype=np.float32) / np.sqrt(into)).astype("f4")

    def norm(size: int) -> Array:
        return rng.standard_normal(size, dtype=np.float32) * np.float32(0.1)

    weights: dict[str, Array] = {
        "embed_tokens.weight": matrix(vocab, hidden),
        "norm.weight": norm(hidden),
    }
    for i in range(layers):
        at = f"layers.{i}."
        for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            weights[f"{at}{name}_layernorm.weight"] = norm(hidden)
        weights[at + "self_attn.q_norm.weight"] = norm(head_dim)
        weights[at + "self_attn.k_norm.weight"] = norm(head_dim)
        weights[at + "self_attn.q_proj.weight"] = matrix(heads * head_dim, hidden)
        weights[at + "self_attn.k_proj.weight"] = matrix(head_dim, hidden)
        weights[at + "self_attn.v_proj.weight"] = matrix(head_dim, hidden)
        weights[at + "self_attn.o_proj.weight"] = matrix(hidden, heads * head_dim)
        weights[at + "mlp.gate_proj.weight"] = matrix(intermediate, hidden)
        weights[at + "mlp.up_proj.weight"] = matrix(intermediate, hidden)
        weights[at + "mlp.down_proj.weight"] = matrix(hidden, intermediate)
    return weights, (matrix(wide, hidden), matrix(hidden, wide))
