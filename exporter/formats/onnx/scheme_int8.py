"""int8 weights and activations, each row of activations with a scale of its own.

Dynamic quantization as onnxruntime ships it takes one scale for all rows, so that a text's vector
depends on its neighbours (https://github.com/microsoft/onnxruntime/issues/10111), and tokens differ
a hundredfold. Here plain operators rotate a matrix' input, take each row's largest magnitude and
round by it; products run in MatMulIntegerToFloat (u8 x s8).

Where a processor has no VNNI, its u8 x s8 instruction adds pairs of products in 16 bits and
saturates (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "when and
why do I need to try U8U8"); `exporter.quantization.pairs` keeps every pair of weights small enough
that it cannot, so all processors compute the same integers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.table import Table
from exporter.formats.onnx.graph_writer import GraphWriter
from exporter.formats.onnx.lookup import lookup_int8
from exporter.formats.onnx.scheme import Input, Load, Measurement, rotate
from exporter.progress import Stages, next_stage, silent
from exporter.quantization.int8 import Int8Model, quantize_int8
from exporter.quantization.rounding import SMALLEST_ROW, STEP

ZERO_POINT = 128


class Int8:
    """See `exporter.formats.onnx.scheme.MeasuringScheme`."""

    name = "int8"
    compute = np.float32
    kept: tuple[str, ...] = (
        "norms, biases and tables of positions stay float32: few bytes, applied to float32",
        "attention, activation functions and normalisation compute in float32",
        "the head (all Dense as one matrix, if any) stays float32: its rounding alone would weigh "
        "as much as that of all others together, and it is under 1 % of the bytes",
    )

    def __init__(self, model: Int8Model | None = None) -> None:
        self._model = model

    def bytes_per_weight(self) -> float:
        return 1.05

    def measure(
        self,
        checkpoint: Checkpoint,
        texts: Sequence[str],
        *,
        keep: Path | None = None,
        stages: Stages = silent,
    ) -> Measurement:
        assert checkpoint.architecture is not None
        count = checkpoint.architecture.num_layers
        model = quantize_int8(
            checkpoint,
            texts,
            keep=keep,
            on_measured=next_stage(stages, "int8: layers measured", count),
            on_layer=next_stage(stages, "int8: layers rounded", count),
        )
        return Measurement(Int8(model), model.weights)

    def lookup(self, writer: GraphWriter, table: Table, ids: str, *, scale: float) -> str:
        return lookup_int8(writer, table, ids, scale=scale)

    def enter(self, writer: GraphWriter, x: str, *, site: str) -> Input:
        """Rotate, and round each row by its largest magnitude."""
        assert self._model is not None
        block = self._model.weights.runtime_block(site)
        turned = rotate(writer, x, block=block)
        largest = writer.node(
            "ReduceMax", [writer.node("Abs", [turned]), writer.constant([-1], np.int64)], keepdims=1
        )
        # A row of zeros is divided by this.
        largest = writer.node("Max", [largest, writer.constant(SMALLEST_ROW, np.float32)])
        scaled = writer.node("Mul", [turned, writer.node("Reciprocal", [largest])])
        step = writer.constant(STEP, np.float32)
        codes = writer.node("QuantizeLinear", [scaled, step, writer.constant(ZERO_POINT, np.uint8)])
        return Input(codes, (largest,))

    def matmul(self, writer: GraphWriter, x: Input, weight: Load, *, name: str) -> str:
        if self._model is None or name not in self._model.matrices:
            stored = writer.weight(name, weight(), reason="see kept: the head")
            exact: str = writer.node("MatMul", [x.values, stored])
            return exact
        found = self._model.matrices[name]
        bits = 8 + 32 / found.codes.shape[1]
        stored = writer.weight(name, np.ascontiguousarray(found.codes.T), bits=bits)
        stored_scales = writer.weight(name + "_scale", found.scales, reason="scale of each output")
        product: str = writer.node(
            "MatMulIntegerToFloat",
            [
                x.values,
                stored,
                writer.constant(STEP, np.float32),
                stored_scales,
                writer.constant(ZERO_POINT, np.uint8),
            ],
            domain="com.microsoft",
        )
        return product


SCHEME = Int8()
