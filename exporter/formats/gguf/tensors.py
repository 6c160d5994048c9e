"""A checkpoint's tensors as a GGUF names and orders them."""

from collections.abc import Iterator

from exporter.architectures.family import Family, GgufFamily, family_of
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.safetensors_file import TensorInfo
from exporter.formats.gguf.names import TOKENIZERS
from exporter.formats.gguf.tokenizer import GgufTokenizer
from exporter.registry import FAMILIES, resolve


def gguf_family(checkpoint: Checkpoint) -> GgufFamily:
    """Return how llama.cpp knows a checkpoint that `limits.check_expressible` let pass."""
    assert checkpoint.architecture is not None
    found = family_of(checkpoint.architecture).gguf
    assert found is not None
    return found


def tokenizer_of(checkpoint: Checkpoint) -> GgufTokenizer:
    """Return the kind of tokenizer of such a checkpoint."""
    found: GgufTokenizer = resolve(
        TOKENIZERS, gguf_family(checkpoint).tokenizer, what="GGUF tokenizer"
    )
    return found


def known_families() -> Iterator[GgufFamily]:
    """Yield every family that llama.cpp knows."""
    for name in FAMILIES:
        family: Family = resolve(FAMILIES, name, what="model type")
        if family.gguf is not None:
            yield family.gguf


def gguf_tensors(checkpoint: Checkpoint) -> list[tuple[str, TensorInfo]]:
    """Return (name in the file, tensor) in the file's order: Dense, then shard by shard."""
    family = gguf_family(checkpoint)
    dense = [
        (f"dense_{i}.weight", checkpoint.tensors[d.tensor])
        for i, d in enumerate(checkpoint.dense, start=2)
    ]
    in_dense = {d.tensor for d in checkpoint.dense}
    backbone = sorted(
        (info.file.name, name) for name, info in checkpoint.tensors.items() if name not in in_dense
    )
    return dense + [(family.tensor_name(name), checkpoint.tensors[name]) for _, name in backbone]
