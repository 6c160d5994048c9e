"""A tiny seeded checkpoint in Qwen3-Embedding's layout, its weights made by transformers' model.

The values of the layout (files, module chain, prompt, pre-tokenizer, end token) are those of
Qwen/Qwen3-Embedding-0.6B as its repository has them.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import ByteLevel, Sequence, TemplateProcessing
from tokenizers.trainers import BpeTrainer

from parity_tests.tiny_checkpoint import SENTENCES

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
END, CHAT_END = "<|endoftext|>", "<|im_end|>"
SPECIAL = (END, "<|im_start|>", CHAT_END)
PLAIN_ADDED = ("<tool_call>", "</tool_call>")
QUERY = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)


def make_tiny_qwen3(
    folder: Path,
    *,
    seed: int = 0,
    layers: int = 3,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 32,
    intermediate: int = 96,
    vocab: int = 512,
    positions: int = 2048,
    max_tokens: int | None = 64,
    tied: bool = True,
    head: bool = False,
    dtype: str = "bfloat16",
    pooling: str = "lasttoken",
    ends: bool = True,
    matryoshka_dims: tuple[int, ...] = (64, 32),
    rows: int = 0,
) -> Path:
    """Write a checkpoint with random weights and a real tokenizer. Returns `folder`.

    `rows`: of the table, 0 for as many as the tokenizer has pieces.
    `head`: save it as the whole language model, lm_head.weight included. `ends`: whether the
    tokenizer puts its end token behind a text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces = write_tokenizer(folder, vocab=vocab, ends=ends)
    _write_model(
        folder,
        seed=seed,
        head=head,
        dtype=dtype,
        vocab_size=rows or pieces,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        max_position_embeddings=positions,
        rope_theta=1e6,
        tie_word_embeddings=tied,
        use_sliding_window=False,
        sliding_window=None,
        bos_token_id=pieces - 5,
        eos_token_id=pieces - 5,
    )
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(
            (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
        )
    ]
    _write(folder / "modules.json", modules)
    _write(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": hidden,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_lasttoken": pooling == "lasttoken",
            "include_prompt": True,
        },
    )
    (folder / "2_Normalize").mkdir(exist_ok=True)
    _write(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {"query": QUERY, "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    if max_tokens is not None:
        _write(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens})
    loss = {"loss": "MultipleNegativesRankingLoss", "matryoshka_dims": list(matryoshka_dims)}
    card = f"---\nlicense: apache-2.0\nbase_model: Qwen/Qwen3-Embedding-0.6B\n---\n{loss}\n"
    (folder / "README.md").write_text(card.replace("'", '"'), "utf-8")
    return folder


def write_tokenizer(folder: Path, *, vocab: int, ends: bool) -> int:
    """Train a byte-level BPE as Qwen's; special tokens lie behind its pieces. Returns how many ids
    there are."""
    tokenizer = Tokenizer(BPE(byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=vocab - 5, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in PLAIN_ADDED])
    byte_level = ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    template = TemplateProcessing(
        single=f"$A {END}",
        pair=f"$A {END} $B {END}",
        special_tokens=[(END, tokenizer.token_to_id(END))],
    )
    tokenizer.post_processor = Sequence([byte_level, template]) if ends else byte_level
    tokenizer.save(str(folder / "tokenizer.json"))
    added = {
        str(tokenizer.token_to_id(token)): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token in SPECIAL,
        }
        for token in (*SPECIAL, *PLAIN_ADDED)
    }
    _write(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": added,
            "additional_special_tokens": ["<|im_start|>", CHAT_END],
            "bos_token": None,
            "clean_up_tokenization_spaces": False,
            "eos_token": CHAT_END,  # the end token of a chat; the post-processor adds another
            "errors": "replace",
            "model_max_length": 131072,
            "pad_token": END,
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )
    return int(tokenizer.get_vocab_size())


def _write_model(folder: Path, *, seed: int, head: bool, dtype: str, **numbers: Any) -> None:
    """Save transformers' model: unit-gain matrices, norms with outlier channels."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

    config = Qwen3Config(**numbers)
    model = (Qwen3ForCausalLM if head else Qwen3Model)(config)
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            drawn = torch.randn(tensor.shape, generator=made)
            if tensor.ndim == 1:
                drawn = 1 + 0.2 * drawn
                # Channels that stand out, as in real norms; in attention's, scores stay mild.
                drawn[:2] *= torch.tensor([2.0, -2.0] if "self_attn" in name else [9.0, -5.0])
            elif "embed_tokens" not in name:
                added = "o_proj" in name or "down_proj" in name
                drawn *= (0.3 if added else 1.0) / tensor.shape[1] ** 0.5
            tensor.copy_(drawn)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    path = folder / "config.json"
    saved = json.loads(path.read_text("utf-8")) | {"architectures": ["Qwen3ForCausalLM"]}
    _write(path, saved)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), "utf-8")
