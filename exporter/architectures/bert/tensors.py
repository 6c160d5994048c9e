"""The tensors of a BERT encoder: their shapes, their names, and those that no vector depends on."""

from exporter.architectures.bert.config import BertArchitecture

OWN_NAMES = {
    "embeddings.word_embeddings.": "embed_tokens.",
    "embeddings.position_embeddings.": "embed_positions.",
    "embeddings.token_type_embeddings.": "embed_segments.",
    "embeddings.LayerNorm.": "embed_norm.",
    "encoder.layer.": "layers.",
}
"""Beginnings of names: in the files, and here."""
UNUSED = (
    # Whole numbers 0, 1, ..., and zeros, which transformers saved with the weights until 4.31.
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    # Behind the first token, trained for pairs of sentences: sentence-transformers never reads it.
    "pooler.dense.weight",
    "pooler.dense.bias",
)


def own_name(name: str) -> str:
    """Return what a tensor of the files is called here."""
    for theirs, ours in OWN_NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def expected_shapes(a: BertArchitecture) -> dict[str, tuple[int, ...]]:
    """Return the name in the files and the shape of every tensor that a vector depends on."""
    h, m = a.hidden_size, a.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (a.vocab_size, h),
        "embeddings.position_embeddings.weight": (a.places, h),
        "embeddings.token_type_embeddings.weight": (a.token_types, h),
        **_norm("embeddings.LayerNorm", h),
    }
    for i in range(a.num_layers):
        at = f"encoder.layer.{i}."
        for name in ("query", "key", "value"):
            shapes |= _linear(f"{at}attention.self.{name}", h, h)
        shapes |= _linear(at + "attention.output.dense", h, h)
        shapes |= _norm(at + "attention.output.LayerNorm", h)
        shapes |= _linear(at + "intermediate.dense", m, h)
        shapes |= _linear(at + "output.dense", h, m)
        shapes |= _norm(at + "output.LayerNorm", h)
    return shapes


def _linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {name + ".weight": (out, into), name + ".bias": (out,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {name + ".weight": (size,), name + ".bias": (size,)}
