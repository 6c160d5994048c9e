"""A tiny seeded checkpoint in EmbeddingGemma's layout, for tests."""

from pathlib import Path

import sentencepiece

from parity_tests.layout import random_weights, train_tokenizer, write_layout

# Written for the tests: enough characters for a small BPE, the rest falls back to bytes.
SENTENCES = (
    "第一条 出租人应当按照约定将租赁物交付承租人，并在租赁期限内保持租赁物符合约定的用途。",
    "第二条 用人单位不得扣押劳动者的居民身份证和其他证件，不得要求劳动者提供担保。",
    "第三条 经营者提供商品或者服务，应当向消费者出具发票等购货凭证。",
    "房东不退押金怎么办？老板拖欠工资三个月了，能去哪里投诉？",
    "The landlord kept the deposit; what can I do about it in 2026?",
    "title: 住房租赁条例 第十二条 | text: 押金应当在七日内退还。\n逾期的，按日付利息。",
    "task: search result | query: 小区停车位被别人占了　物业不管",
)


def make_tiny_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    layers: int = 6,
    hidden: int = 64,
    heads: int = 3,
    head_dim: int = 16,
    intermediate: int = 96,
    vocab: int = 512,
    wide: int = 128,
    window: int = 16,
    max_tokens: int = 64,
    dtype: str = "bfloat16",
    matryoshka_dims: tuple[int, ...] = (64, 32, 16),
) -> Path:
    """Write a checkpoint with random weights and a real tokenizer. Returns `folder`.

    `vocab` is an upper bound: the tokenizer decides how many pieces its text can fill.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer(folder, SENTENCES * 20, vocab_size=vocab)
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    size = model.get_piece_size()
    backbone, dense = random_weights(
        seed,
        layers=layers,
        hidden=hidden,
        heads=heads,
        head_dim=head_dim,
        intermediate=intermediate,
        vocab=size,
        wide=wide,
    )
    write_layout(
        folder,
        backbone,
        dense,
        layers=layers,
        hidden=hidden,
        heads=heads,
        head_dim=head_dim,
        intermediate=intermediate,
        vocab=size,
        window=window,
        max_tokens=max_tokens,
        dtype=dtype,
        matryoshka_dims=matryoshka_dims,
    )
    return folder
