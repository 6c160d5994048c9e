"""The file types a GGUF can be written in, and how float32 rows become their bytes."""

from dataclasses import dataclass

import gguf
import numpy as np
import numpy.typing as npt

from exporter.formats.gguf.ggml import quantize_rows

QTYPE = gguf.GGMLQuantizationType
# What PyPI's gguf writes to the byte as llama.cpp does: these need no llama-cpp-python.
PLAIN = frozenset({QTYPE.F32, QTYPE.F16, QTYPE.BF16, QTYPE.Q8_0})


@dataclass(frozen=True)
class GgufType:
    """A file type. `matrix`: what most matrices are stored as; `better`: what a plan may give to
    those whose errors weigh most; `narrow`: what a row gets that `matrix`' block does not divide;
    `table`: what the embedding table gets.
    """

    name: str
    file_type: gguf.LlamaFileType
    matrix: gguf.GGMLQuantizationType
    better: gguf.GGMLQuantizationType | None = None
    narrow: gguf.GGMLQuantizationType | None = None
    table: gguf.GGMLQuantizationType = QTYPE.Q8_0

    @property
    def quantized(self) -> bool:
        """Whether weights take less than 16 bits."""
        return bits_per_weight(self.matrix) < 16

    @property
    def calibrated(self) -> bool:
        """Whether it is measured on calibration text unless told otherwise: below 8 bits.

        Q6_K without it loses more on a model with outlier channels than Q8_0 does."""
        return bits_per_weight(self.matrix) < 8


F32 = GgufType("f32", gguf.LlamaFileType.ALL_F32, QTYPE.F32)
F16 = GgufType("f16", gguf.LlamaFileType.MOSTLY_F16, QTYPE.F16)
BF16 = GgufType("bf16", gguf.LlamaFileType.MOSTLY_BF16, QTYPE.BF16)
Q8_0 = GgufType("q8_0", gguf.LlamaFileType.MOSTLY_Q8_0, QTYPE.Q8_0)
# Below 8 bits the table, two thirds of the weights, gets 5. On google/embeddinggemma-300m that
# costs 1.7e-4, 6 bits 4e-5, 4 bits 7e-4; a bit less for the layers costs four times their error.
Q6_K = GgufType(
    "q6_k", gguf.LlamaFileType.MOSTLY_Q6_K, QTYPE.Q6_K, narrow=QTYPE.Q5_1, table=QTYPE.Q5_K
)
Q5_K_M = GgufType(
    "q5_k_m",
    gguf.LlamaFileType.MOSTLY_Q5_K_M,
    QTYPE.Q5_K,
    better=QTYPE.Q6_K,
    narrow=QTYPE.Q5_1,
    table=QTYPE.Q5_K,
)
Q4_K_M = GgufType(
    "q4_k_m",
    gguf.LlamaFileType.MOSTLY_Q4_K_M,
    QTYPE.Q4_K,
    better=QTYPE.Q6_K,
    narrow=QTYPE.Q5_1,
    table=QTYPE.Q5_K,
)
Q4_0 = GgufType("q4_0", gguf.LlamaFileType.MOSTLY_Q4_0, QTYPE.Q4_0, table=QTYPE.Q5_K)
IQ4_NL = GgufType("iq4_nl", gguf.LlamaFileType.MOSTLY_IQ4_NL, QTYPE.IQ4_NL, table=QTYPE.Q5_K)

# Which type each tensor has, a budget decides; what most have, the file says.
MIXED = GgufType("mixed", gguf.LlamaFileType.GUESSED, QTYPE.Q4_K)


def bits_per_weight(ggml_type: gguf.GGMLQuantizationType) -> float:
    """Return the realised bits of one weight, block scales included."""
    block, size_bytes = gguf.GGML_QUANT_SIZES[ggml_type]
    return 8.0 * float(size_bytes) / float(block)


def divides(width: int, ggml_type: gguf.GGMLQuantizationType) -> bool:
    """Say whether rows of `width` are whole blocks of `ggml_type`."""
    return bool(width % gguf.GGML_QUANT_SIZES[ggml_type][0] == 0)


def pack(
    values: npt.NDArray[np.float32],
    ggml_type: gguf.GGMLQuantizationType,
    *,
    importance: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.uint8]:
    """Return the bytes of float32 rows in `ggml_type`. values: (rows, n) or (n,); importance: (n,),
    the weight of each column's error, which the types of `PLAIN` have no use for.

    Raises MissingDependency without llama-cpp-python for the others.
    """
    if ggml_type not in PLAIN:
        return quantize_rows(values, ggml_type, importance=importance)
    with np.errstate(over="ignore"):  # the writer looks for Inf and names the tensor
        packed: npt.NDArray[np.uint8] = np.ascontiguousarray(
            gguf.quants.quantize(values, ggml_type)
        )
    return packed.view(np.uint8)


def unpack(
    packed: npt.NDArray[np.uint8], ggml_type: gguf.GGMLQuantizationType
) -> npt.NDArray[np.float32]:
    """Return what `pack` left of the values, (rows, n) float32."""
    values: npt.NDArray[np.float32] = gguf.quants.dequantize(packed, ggml_type)
    return values
