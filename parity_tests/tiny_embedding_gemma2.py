"""A tiny seeded EmbeddingGemma 2 checkpoint, its weights in transformers' own model.

Needs transformers 5.24: python -m parity_tests.tiny_embedding_gemma2 FOLDER [NAME=VALUE ...]
"""

import json
import sys
from pathlib import Path
from typing import Any

from parity_tests.layout import PROMPTS, train_tokenizer, write_json
from parity_tests.tiny_checkpoint import SENTENCES

# Median of the gains of google/embeddinggemma-300m, and the largest over it, each the median of its
# 24 layers: what those of a trained model of this kind are like.
GAINS = {
    "input_layernorm": (10.9, 9.4),
    "post_attention_layernorm": (20.1, 19.6),
    "pre_feedforward_layernorm": (3.6, 9.8),
    "post_feedforward_layernorm": (28.2, 32.8),
    "post_per_layer_input_norm": (20.1, 19.6),
    "q_norm": (1.23, 3.9),
    "k_norm": (1.42, 9.5),
    "per_layer_projection_norm": (3.6, 9.8),
    "norm": (3.6, 9.8),
}
SPREAD = 0.6  # of the logarithms of the other gains
# Of q and k: scores as sharp as trained ones would let chance choose among tokens of a random
# model, and the last digit among chances.
SOFTER = 4.0
# Rms of the scaled embeddings there, and of a matrix' product with a row of rms 1.
EMBEDDED, MATRIX = 1.85, 0.2


def make_tiny_embedding_gemma2(
    folder: Path,
    *,
    seed: int = 0,
    layers: int = 6,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    global_kv_heads: int = 1,
    global_head_dim: int = 32,
    intermediate: int = 96,
    per_layer: int = 48,
    projection: int = 96,
    window: int = 8,
    positions: int = 262144,
    max_tokens: int = 64,
    rows: int = 0,
    towers: bool = False,
    dtype: str = "bfloat16",
) -> Path:
    """Write a checkpoint and a real tokenizer. Returns `folder`.

    `rows`: of the table, 0 for as many as the tokenizer has pieces; `towers`: as the whole model is
    saved, with those for images and sound.
    """
    import torch
    from transformers import (
        EmbeddingGemma2Config,
        EmbeddingGemma2Model,
        EmbeddingGemma2TextConfig,
        EmbeddingGemma2TextModel,
    )

    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer(folder, SENTENCES * 20, vocab_size=512)
    pieces = len(json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"])
    text = EmbeddingGemma2TextConfig(
        vocab_size=rows or pieces,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        num_global_key_value_heads=global_kv_heads,
        global_head_dim=global_head_dim,
        hidden_size_per_layer_input=per_layer,
        embedding_dim=projection,
        sliding_window=window,
        max_position_embeddings=positions,
    )
    model: Any
    if towers:
        vision = {
            "model_type": "gemma4_vision",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
        }
        model = EmbeddingGemma2Model(
            EmbeddingGemma2Config(text_config=text, vision_config=vision, audio_config=None)
        )
        fill(model.language_model, seed=seed)
    else:
        model = EmbeddingGemma2TextModel(text)
        fill(model, seed=seed)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    _write_modules(folder, width=projection, max_tokens=max_tokens)
    return folder


def fill(model: Any, *, seed: int) -> None:
    """Draw weights: matrices of gain about 1, norms whose outlier channels are those of `GAINS`,
    stored factors below 1. Scores are not scaled, so q and k share what 1 / sqrt(head_dim) does."""
    import torch

    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in model.named_parameters():
            drawn = torch.randn(values.shape, generator=made)
            if values.ndim > 1:
                std = EMBEDDED if "embed_tokens" in name else MATRIX
                values.copy_(drawn * std / values.shape[1] ** 0.5)
                continue
            kind = name.removesuffix(".weight").rpartition(".")[2]
            median, most = GAINS[kind]
            if kind in ("q_norm", "k_norm"):
                median /= SOFTER * values.shape[0] ** 0.25
                most = min(most, 2.0)
            gains = median * torch.exp(SPREAD * drawn)
            loud = torch.randperm(len(gains), generator=made)[:2]
            gains[loud] = median * most * torch.tensor([1.0, -0.5])
            values.copy_(gains)
        for layer in model.layers:
            layer.layer_scalar.fill_(0.3 + 0.6 * float(torch.rand(1, generator=made)))


def _write_modules(folder: Path, *, width: int, max_tokens: int) -> None:
    """Write what sentence-transformers 6 saves beside the model."""
    package = "sentence_transformers"
    chain = (
        ("", f"{package}.base.modules.transformer.Transformer"),
        ("1_Pooling", f"{package}.sentence_transformer.modules.pooling.Pooling"),
        ("2_Normalize", f"{package}.base.modules.normalize.Normalize"),
    )
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": kind}
            for i, (path, kind) in enumerate(chain)
        ],
    )
    write_json(
        folder / "1_Pooling" / "config.json",
        {"embedding_dimension": width, "pooling_mode": "mean", "include_prompt": True},
    )
    (folder / "2_Normalize").mkdir(exist_ok=True)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens})
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": PROMPTS, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


if __name__ == "__main__":
    options = dict(option.split("=") for option in sys.argv[2:])
    make_tiny_embedding_gemma2(
        Path(sys.argv[1]), **{name: json.loads(value) for name, value in options.items()}
    )
