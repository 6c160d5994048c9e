"""Write a checkpoint of EmbeddingGemma-300M's size with random weights, for memory and speed.

python -m parity_tests.full_size FOLDER
"""

import sys
from pathlib import Path

from parity_tests.layout import random_weights, train_tokenizer, write_layout
from parity_tests.tiny_checkpoint import SENTENCES

VOCABULARY = 262_144


def make_full_size(
    folder: Path, *, seed: int = 0, vocab: int = VOCABULARY, layers: int = 24
) -> Path:
    """Write 307 M random parameters in the real layout (0.6 GB bf16). Needs 3 GB of memory.

    The tokenizer is a small one of its own: the table has rows that no text reaches.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer(folder, SENTENCES * 20, vocab_size=512)
    shape = {"layers": layers, "hidden": 768, "heads": 3, "head_dim": 256, "intermediate": 1152}
    backbone, dense = random_weights(seed, **shape, vocab=vocab, wide=3072)
    write_layout(
        folder,
        backbone,
        dense,
        **shape,
        vocab=vocab,
        window=512,
        max_tokens=2048,
        matryoshka_dims=(768, 512, 256, 128),
    )
    return folder


if __name__ == "__main__":
    print(make_full_size(Path(sys.argv[1])))
