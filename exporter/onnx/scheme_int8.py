"""int8 weights, one scale an output channel; activations int8, one scale a token.

The activation scale is taken over one token's row, never over the batch: dynamic quantization as
onnxruntime ships it takes one scale for all, so that a text's vector depends on its neighbours
(https://github.com/microsoft/onnxruntime/issues/10111). Weights are symmetric in [-127, 127],
products run in MatMulIntegerToFloat (u8 x s8).

On x86 processors with VNNI (or AVX512-VNNI) those products are exact. AVX2's u8 x s8 instruction
adds pairs in 16 bits and saturates where both are large, so an older processor may give slightly
other vectors: what parity proves here, it proves for processors like the one it ran on.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import TensorInfo
from exporter.checkpoint.safetensors_file import read_row_blocks
from exporter.onnx.graph_writer import FLOAT, GraphWriter
from exporter.onnx.scheme import TABLE_BLOCK_BYTES

TINY = 1e-12  # a row of zeros (padding) gets this scale instead of dividing by zero


def quantize_rows(
    values: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize each row symmetrically to int8. values: (rows, n). Returns (rows, n) int8 and
    scales (rows,) float32, so that row ~ int8 * scale with an error of at most scale / 2."""
    largest = np.abs(values).max(axis=1).astype(np.float32)
    scales = np.maximum(largest / np.float32(127), np.float32(TINY))
    codes = np.rint(values / scales[:, None]).clip(-127, 127).astype(np.int8)
    return codes, scales


class Int8:
    """See `exporter.onnx.scheme.Scheme`."""

    name = "int8"
    compute = np.float32
    kept = (
        "RMSNorm gains and rotary tables stay float32: under 1 % of the bytes, applied to float32",
    )

    def bytes_per_weight(self) -> float:
        return 1.05

    def lookup(self, writer: GraphWriter, table: TensorInfo, ids: str, *, scale: float) -> str:
        rows, width = table.shape
        scales: list[npt.NDArray[np.float32]] = []

        def blocks() -> Iterator[npt.NDArray[np.int8]]:
            for block in read_row_blocks(table, block_bytes=TABLE_BLOCK_BYTES):
                codes, block_scales = quantize_rows(block)
                scales.append(block_scales * np.float32(scale))
                yield codes

        bits = 8 + 32 / width
        weight = writer.streamed("embed_tokens", blocks(), (rows, width), np.int8, bits=bits)
        gathered = writer.node("Gather", [weight, ids], axis=0)
        values = writer.node("Cast", [gathered], to=FLOAT)
        scale_table = writer.weight(
            "embed_tokens_scale", np.concatenate(scales)[:, None], reason="scale of each table row"
        )
        row_scales = writer.node("Gather", [scale_table, ids], axis=0)
        scaled: str = writer.node("Mul", [values, row_scales])
        return scaled

    def matmul(
        self, writer: GraphWriter, x: str, weight: npt.NDArray[np.float32], *, name: str
    ) -> str:
        codes, scales = quantize_rows(np.ascontiguousarray(weight.T))
        bits = 8 + 32 / weight.shape[0]
        stored = writer.weight(name, np.ascontiguousarray(codes.T), bits=bits)
        stored_scales = writer.weight(name + "_scale", scales, reason="scale of each output")
        largest = writer.node(
            "ReduceMax", [writer.node("Abs", [x]), writer.constant([-1], np.int64)], keepdims=1
        )
        at_least = writer.node("Max", [largest, writer.constant(TINY, np.float32)])
        row_scale = writer.node("Mul", [at_least, writer.constant(1 / 127, np.float32)])
        one, middle = writer.constant(1.0, np.float32), writer.constant(128, np.uint8)
        quantized = writer.node("QuantizeLinear", [writer.node("Div", [x, row_scale]), one, middle])
        product = writer.node(
            "MatMulIntegerToFloat", [quantized, stored, one, stored_scales, middle],
            domain="com.microsoft",
        )  # fmt: skip
        scaled: str = writer.node("Mul", [product, row_scale])
        return scaled


SCHEME = Int8()
