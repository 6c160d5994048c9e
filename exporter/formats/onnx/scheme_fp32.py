"""Weights as float32: the exact translation, and the yardstick of every other scheme."""

import numpy as np

from exporter.checkpoint.table import Table
from exporter.formats.onnx.graph_writer import GraphWriter
from exporter.formats.onnx.lookup import lookup_rows
from exporter.formats.onnx.scheme import Input, Load, PlainInput


class Fp32(PlainInput):
    """See `exporter.formats.onnx.scheme.Scheme`."""

    name = "fp32"
    compute = np.float32
    kept: tuple[str, ...] = ()

    def bytes_per_weight(self) -> float:
        return 4.0

    def lookup(self, writer: GraphWriter, table: Table, ids: str, *, scale: float) -> str:
        rows = lookup_rows(writer, table, ids, dtype=np.float32, stored=lambda block: block)
        scaled: str = writer.node("Mul", [rows, writer.constant(scale, np.float32)])
        return scaled

    def matmul(self, writer: GraphWriter, x: Input, weight: Load, *, name: str) -> str:
        product: str = writer.node("MatMul", [x.values, writer.weight(name, weight())])
        return product


SCHEME = Fp32()
