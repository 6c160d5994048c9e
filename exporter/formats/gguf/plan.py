"""What each tensor of a GGUF is stored as, and why."""

from dataclasses import dataclass, replace
from typing import Protocol

import gguf

from exporter.errors import BadInput, unknown_name
from exporter.formats.gguf.types import PLAIN, QTYPE, GgufType, divides

Storage = tuple[gguf.GGMLQuantizationType, str]

TABLE = "token_embd.weight"
TABLE_NARROW = QTYPE.Q8_0  # where the model's width does not divide into the type's blocks
TABLE_TYPES = {
    ggml_type.name.lower(): ggml_type
    for ggml_type in (
        QTYPE.F32,
        QTYPE.F16,
        QTYPE.BF16,
        QTYPE.Q8_0,
        QTYPE.Q6_K,
        QTYPE.Q5_K,
        QTYPE.Q5_1,
        QTYPE.Q5_0,
        QTYPE.Q4_K,
        QTYPE.Q4_0,
        QTYPE.IQ4_NL,
    )
}
ALWAYS_F32 = ("position_embd.weight", "token_types.weight")
"""Matrices that llama.cpp's converter never rounds: few rows, added to every token."""
# attn_v: one head's rows serve all query heads, so its bits are few and weigh much.
SENSITIVE = ("attn_v.weight",)


class Plan(Protocol):
    """Chooses types. Registered in `exporter.registry.GGUF_PLANS`."""

    @property
    def name(self) -> str:
        """Its name in the registry."""
        ...

    @property
    def own_grids(self) -> bool:
        """Whether scales are searched, and codes chosen, by this project rather than as ggml."""
        ...

    def storage(self, gguf_type: GgufType, name: str, shape: tuple[int, ...]) -> Storage:
        """Return the type of one tensor, and the reason where it is not the file's own type."""
        ...

    def with_table(self, type_name: str) -> "Plan":
        """Return the plan with another type for the embedding table. Raises BadInput."""
        ...


@dataclass(frozen=True)
class EmbeddingPlan:
    """For embedding models: the Dense head at 16 bits, table and layers as the type says.

    `table`: another type for the embedding table. Presets for chat models give the head fewer bits,
    which they do not know, and the table more: there it is also the output matrix.
    """

    name: str = "embedding"
    own_grids: bool = True
    table: gguf.GGMLQuantizationType | None = None

    def storage(self, gguf_type: GgufType, name: str, shape: tuple[int, ...]) -> Storage:
        if len(shape) <= 1 or name in ALWAYS_F32:
            return (
                QTYPE.F32,
                "" if gguf_type.matrix is QTYPE.F32 else "norms, biases and positions stay F32",
            )
        if not gguf_type.quantized:
            return gguf_type.matrix, ""
        if name.startswith("dense_"):
            return QTYPE.F16, "the Dense head stays F16: its errors are the vector's"
        if name == TABLE:
            return self._table(gguf_type, shape[-1])
        if gguf_type.better is not None and name.endswith(SENSITIVE):
            reason = f"attn_v takes {gguf_type.better.name}: few bytes that all query heads read"
            return _fitting(gguf_type.better, shape[-1], reason)
        if divides(shape[-1], gguf_type.matrix):
            return gguf_type.matrix, ""
        block = gguf.GGML_QUANT_SIZES[gguf_type.matrix][0]
        narrow = gguf_type.narrow or QTYPE.F16
        return _fitting(
            narrow, shape[-1], f"rows of {shape[-1]} do not divide by {block}: {narrow.name}"
        )

    def _table(self, gguf_type: GgufType, width: int) -> Storage:
        chosen = self.table or gguf_type.table
        if self.table is None and not divides(width, chosen):
            chosen = TABLE_NARROW
        return _fitting(chosen, width, f"the embedding table is {chosen.name}")

    def with_table(self, type_name: str) -> "EmbeddingPlan":
        if type_name not in TABLE_TYPES:
            raise unknown_name("--embedding-type", type_name, TABLE_TYPES)
        return replace(self, table=TABLE_TYPES[type_name])


@dataclass(frozen=True)
class UpstreamPlan:
    """What llama.cpp's own tools give: its converter up to 8 bits, llama-quantize below."""

    name: str = "upstream"
    own_grids: bool = False

    def storage(self, gguf_type: GgufType, name: str, shape: tuple[int, ...]) -> Storage:
        """Return the converter's choice; types that only llama-quantize makes are not asked for."""
        assert gguf_type.matrix in PLAIN, gguf_type.name
        if len(shape) <= 1 or name in ALWAYS_F32:
            return (
                QTYPE.F32,
                "" if gguf_type.matrix is QTYPE.F32 else "norms, biases and positions stay F32",
            )
        if divides(shape[-1], gguf_type.matrix):
            return gguf_type.matrix, ""
        block = gguf.GGML_QUANT_SIZES[gguf_type.matrix][0]
        return QTYPE.F16, f"rows of {shape[-1]} do not divide by {block}: F16"

    def with_table(self, type_name: str) -> "UpstreamPlan":
        raise BadInput("--embedding-type belongs to --plan embedding; upstream chooses by itself")


def _fitting(ggml_type: gguf.GGMLQuantizationType, width: int, reason: str) -> Storage:
    if divides(width, ggml_type):
        return ggml_type, reason
    return QTYPE.F16, f"rows of {width} do not divide into blocks of {ggml_type.name}: F16"


EMBEDDING = EmbeddingPlan()
UPSTREAM = UpstreamPlan()
