"""A checkpoint of a base's shape with random weights: its size and speed are the real one's.

    python -m benchmarks.shapes qwen3-embedding-0.6b|bge-m3|embeddinggemma-2 FOLDER

The numbers are those of the base's config.json. The tokenizer is a small one of its own, and what
its vectors are says nothing. `embeddinggemma-2` needs transformers 5.24, so a second environment.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from parity_tests.tiny_bert import make_tiny_bert
from parity_tests.tiny_embedding_gemma2 import make_tiny_embedding_gemma2
from parity_tests.tiny_qwen3 import make_tiny_qwen3


def embedding_gemma2(folder: Path) -> Path:
    """google/embeddinggemma-2, its text part; the numbers are the defaults of transformers."""
    return make_tiny_embedding_gemma2(
        folder,
        layers=24,
        hidden=512,
        heads=4,
        kv_heads=2,
        head_dim=256,
        global_kv_heads=1,
        global_head_dim=512,
        intermediate=2048,
        per_layer=512,
        projection=768,
        window=512,
        max_tokens=8192,
        rows=262_144,
    )


def qwen3(folder: Path) -> Path:
    """Qwen/Qwen3-Embedding-0.6B."""
    return make_tiny_qwen3(
        folder,
        layers=28,
        hidden=1024,
        heads=16,
        kv_heads=8,
        head_dim=128,
        intermediate=3072,
        positions=32_768,
        max_tokens=None,
        rows=151_669,
        matryoshka_dims=(1024,),
    )


def bge_m3(folder: Path) -> Path:
    """BAAI/bge-m3."""
    return make_tiny_bert(
        folder,
        kind="xlm-roberta",
        pooling="cls",
        layers=24,
        hidden=1024,
        heads=16,
        intermediate=4096,
        max_tokens=8192,
        vocab_size=250_002,
    )


SHAPES: Mapping[str, Callable[[Path], Path]] = {
    "qwen3-embedding-0.6b": qwen3,
    "bge-m3": bge_m3,
    "embeddinggemma-2": embedding_gemma2,
}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        sys.exit(__doc__)
    print(SHAPES[sys.argv[1]](Path(sys.argv[2])))
