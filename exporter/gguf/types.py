"""The storage types a GGUF can be written in without llama.cpp itself."""

from dataclasses import dataclass

import gguf
import numpy as np
import numpy.typing as npt

QTYPE = gguf.GGMLQuantizationType


@dataclass(frozen=True)
class GgufType:
    """A file type: what matrices are stored as. Norms are always F32.

    A row whose length no block divides is stored as F16 instead, as upstream's converter does.
    """

    name: str
    file_type: gguf.LlamaFileType
    matrix: gguf.GGMLQuantizationType

    def storage(self, shape: tuple[int, ...]) -> tuple[gguf.GGMLQuantizationType, str]:
        """Return the type one tensor is stored as, and the reason where it is not the rule."""
        if len(shape) <= 1:
            return QTYPE.F32, "" if self.matrix is QTYPE.F32 else "norms stay F32"
        block = gguf.GGML_QUANT_SIZES[self.matrix][0]
        if shape[-1] % block:
            return QTYPE.F16, f"rows of {shape[-1]} do not divide by {block}: F16"
        return self.matrix, ""


F32 = GgufType("f32", gguf.LlamaFileType.ALL_F32, QTYPE.F32)
F16 = GgufType("f16", gguf.LlamaFileType.MOSTLY_F16, QTYPE.F16)
BF16 = GgufType("bf16", gguf.LlamaFileType.MOSTLY_BF16, QTYPE.BF16)
Q8_0 = GgufType("q8_0", gguf.LlamaFileType.MOSTLY_Q8_0, QTYPE.Q8_0)


def bits_per_weight(kind: gguf.GGMLQuantizationType) -> float:
    """Return the realised bits of one weight, block scales included."""
    block, size_bytes = gguf.GGML_QUANT_SIZES[kind]
    return 8.0 * float(size_bytes) / float(block)


def pack(values: npt.NDArray[np.float32], kind: gguf.GGMLQuantizationType) -> npt.NDArray[np.uint8]:
    """Return the bytes of float32 rows in `kind`. values: (rows, n) or (n,)."""
    with np.errstate(over="ignore"):  # the writer looks for Inf and names the tensor
        packed: npt.NDArray[np.uint8] = np.ascontiguousarray(gguf.quants.quantize(values, kind))
    return packed.view(np.uint8)
