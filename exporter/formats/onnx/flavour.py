"""What a graph is written for: its opset, its attention operator, and where it must run.

The operators of `BROWSER` are those of this tool's graphs, every scheme, which ran in
onnxruntime-web on WebAssembly with the vectors of the CPU, cosine 0.99999 and more. There, opset
23's Attention gives NaN and its QuantizeLinear is missing. MultiHeadAttention is right on
WebAssembly, but not on WebGPU, see `exporter.formats.onnx.plain_attention`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.errors import BadInput

BROWSER = frozenset(
    {
        "Abs",
        "Add",
        "Cast",
        "Concat",
        "CumSum",
        "Div",
        "Equal",
        "Expand",
        "Floor",
        "Gather",
        "Gelu",
        "Greater",
        "Identity",
        "LayerNormalization",
        "MatMul",
        "Max",
        "Mul",
        "QuantizeLinear",
        "Range",
        "Reciprocal",
        "ReduceL2",
        "ReduceMax",
        "ReduceSum",
        "Reshape",
        "Shape",
        "Sigmoid",
        "SimplifiedLayerNormalization",
        "Slice",
        "Softmax",
        "Split",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
        "Where",
        "com.microsoft.FastGelu",
        "com.microsoft.MatMulIntegerToFloat",
        "com.microsoft.MatMulNBits",
        "com.microsoft.MultiHeadAttention",
        "com.microsoft.RotaryEmbedding",
        "com.microsoft.SkipLayerNormalization",
        "com.microsoft.SkipSimplifiedLayerNormalization",
    }
)


@dataclass(frozen=True)
class Flavour:
    """One way of writing the same graph. Its name stands in `names.FLAVOURS`.

    `attention`: `MultiHeadAttention` (com.microsoft, onnxruntime from 1.16; in float32 plain
    operators even so), `Attention` (opset 23, onnxruntime from 1.23) or `plain` operators.
    `operators`: all that may occur, None for whatever onnxruntime has.
    `float16_rows`: whether rows of float16 may be gathered where the scheme computes in float32. A
    GPU without 16-bit shaders cannot in a browser; the table of scales is then cast whole, which
    every runtime does once, when it loads the graph.
    `largest_bytes`: of a table that a GPU looks up, None for any; a larger one is split.
    """

    name: str
    opset: int
    ir_version: int
    attention: str
    operators: frozenset[str] | None = None
    runtime: str = "onnxruntime"
    float16_rows: bool = True
    largest_bytes: int | None = None

    def check_operators(self, used: Iterable[str]) -> None:
        """Raise BadInput naming what `runtime` does not implement. used: `domain.Operator`, or
        the operator alone in the standard domain."""
        if self.operators is None:
            return
        missing = sorted(set(used) - self.operators)
        if missing:
            raise BadInput(
                f"{self.runtime} does not implement {', '.join(missing)}, which --flavour "
                f"{self.name} must do without; choose another --quant or --flavour"
            )


PORTABLE = Flavour("portable", opset=21, ir_version=10, attention="MultiHeadAttention")
WEB = Flavour(
    "web",
    opset=21,
    ir_version=10,
    attention="plain",
    operators=BROWSER,
    runtime="onnxruntime-web",
    float16_rows=False,
    largest_bytes=128 << 20,  # WebGPU's default maxStorageBufferBindingSize
)
CPU23 = Flavour("cpu23", opset=23, ir_version=11, attention="Attention")
