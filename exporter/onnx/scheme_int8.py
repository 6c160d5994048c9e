"""int8 weights and activations, outlier channels moved into weights, scales fixed beforehand.

Nothing is measured at run time: the scale of each matrix' input comes from calibration, so a row's
result depends on that row alone. Dynamic quantization as onnxruntime ships it takes one scale for
all rows, so that a text's vector depends on its neighbours
(https://github.com/microsoft/onnxruntime/issues/10111).

Products run in MatMulIntegerToFloat (u8 x s8). Where a processor has no VNNI, its u8 x s8
instruction adds pairs of products in 16 bits and saturates
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "when and why do I
need to try U8U8"); `quantize_pairs` keeps every pair of weights small enough that it cannot, so all
processors compute the same integers.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import Checkpoint, TensorInfo
from exporter.checkpoint.safetensors_file import read_row_blocks
from exporter.onnx.graph_writer import FLOAT, GraphWriter
from exporter.onnx.scheme import TABLE_BLOCK_BYTES, Measured, corrected, row_scales
from exporter.progress import Stages, by_layer, silent
from exporter.quantization.activations import emulate_int8, measure_int8
from exporter.quantization.head import Choice
from exporter.quantization.pairs import TINY, quantize_pairs

ZERO_POINT = 128
TABLE_BLOCK = 128  # as many weights of a table row share a scale


class Int8:
    """See `exporter.onnx.scheme.MeasuringScheme`. `scales`: of each matrix' input, by its name."""

    name = "int8"
    compute = np.float32
    corrects_head = True
    kept: tuple[str, ...] = (
        "RMSNorm gains and rotary tables stay float32: under 1 % of the bytes, applied to float32",
        "attention, GELU and normalisation compute in float32",
        "the head (all Dense as one matrix) stays float32: its rounding alone would weigh as much "
        "as that of all others together, and it is under 1 % of the bytes",
    )

    def __init__(self, scales: Mapping[str, float] | None = None) -> None:
        self._scales = scales or {}
        self._quantized: dict[tuple[str, float], str] = {}

    def bytes_per_weight(self) -> float:
        return 1.05

    def measure(
        self, checkpoint: Checkpoint, texts: Sequence[str], *, head_correction: Choice,
        stages: Stages = silent,
    ) -> Measured:  # fmt: skip
        assert checkpoint.architecture is not None
        count = checkpoint.architecture.num_layers
        measured = by_layer(stages("int8: layers measured", count))
        weights, scales, reference = measure_int8(checkpoint, texts, on_layer=measured)
        scheme = Int8(scales)
        return corrected(
            scheme, weights, reference,
            lambda: emulate_int8(
                weights, scales, texts, on_layer=by_layer(stages("int8: layers emulated", count))
            ),
            choice=head_correction,
        )  # fmt: skip

    def lookup(self, writer: GraphWriter, table: TensorInfo, ids: str, *, scale: float) -> str:
        """Plain operators, since browsers lack GatherBlockQuantized on the CPU."""
        rows, width = table.shape
        block = block_size(width, TABLE_BLOCK)
        parts = width // block
        scales: list[npt.NDArray[np.float16]] = []
        # Scales are stored in units of the largest: float16 holds them whatever the table's size.
        peak = max(
            float(np.abs(values).max())
            for values in read_row_blocks(table, block_bytes=TABLE_BLOCK_BYTES)
        )
        unit = max(peak, TINY) / 127

        def blocks() -> Iterator[npt.NDArray[np.int8]]:
            for values in read_row_blocks(table, block_bytes=TABLE_BLOCK_BYTES):
                scaled = values.reshape(-1, block) / np.float32(unit)
                rounded = fp16_scales(np.abs(scaled).max(axis=1) / np.float32(127))
                codes = np.rint(scaled / rounded.astype(np.float32)[:, None])
                scales.append(rounded.reshape(-1, parts))
                yield codes.clip(-127, 127).astype(np.int8).reshape(-1, width)

        bits = 8 + 16 / block
        weight = writer.streamed("embed_tokens", blocks(), (rows, width), np.int8, bits=bits)
        scale_table = writer.weight(
            "embed_tokens_scale", np.concatenate(scales), reason=f"scale of {block} table weights"
        )
        codes = writer.node("Gather", [weight, ids], axis=0)
        values = writer.node("Cast", [codes], to=FLOAT)
        split = writer.node("Reshape", [values, writer.constant([0, 0, parts, block], np.int64)])
        gathered = row_scales(writer, scale_table, ids)
        scaling = writer.node("Mul", [gathered, writer.constant(unit * scale, np.float32)])
        scaling = writer.node("Unsqueeze", [scaling, writer.constant([-1], np.int64)])
        scaled = writer.node("Mul", [split, scaling])
        found: str = writer.node("Reshape", [scaled, writer.constant([0, 0, width], np.int64)])
        return found

    def matmul(
        self, writer: GraphWriter, x: str, weight: npt.NDArray[np.float32], *, name: str
    ) -> str:
        if name not in self._scales:
            stored = writer.weight(name, weight, reason="see kept: the head")
            exact: str = writer.node("MatMul", [x, stored])
            return exact
        codes, scales = quantize_pairs(np.ascontiguousarray(weight.T))
        bits = 8 + 32 / weight.shape[0]
        stored = writer.weight(name, np.ascontiguousarray(codes.T), bits=bits)
        stored_scales = writer.weight(name + "_scale", scales, reason="scale of each output")
        middle = writer.constant(ZERO_POINT, np.uint8)
        step = writer.constant(self._scales[name], np.float32)
        key = (x, self._scales[name])
        if key not in self._quantized:
            self._quantized[key] = writer.node("QuantizeLinear", [x, step, middle])
        product: str = writer.node(
            "MatMulIntegerToFloat", [self._quantized[key], stored, step, stored_scales, middle],
            domain="com.microsoft",
        )  # fmt: skip
        return product


def block_size(width: int, most: int) -> int:
    """Return the largest power of two up to `most` that divides `width`."""
    size = most
    while width % size:
        size //= 2
    return size


def fp16_scales(scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Round scales up to float16, so that nothing is clipped; at least its least normal value."""
    rounded = np.maximum(scales, np.float32(2.0**-14)).astype(np.float16)
    low = rounded.astype(np.float32) < scales
    return np.where(low, np.nextafter(rounded, np.float16(np.inf)), rounded)


SCHEME = Int8()
