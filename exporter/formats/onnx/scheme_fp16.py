"""Weights and arithmetic in float16, in a graph whose weights were rescaled so that it fits."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.table import Table
from exporter.errors import BadInput
from exporter.formats.onnx.graph_writer import GraphWriter
from exporter.formats.onnx.lookup import lookup_rows
from exporter.formats.onnx.scheme import Input, Load, Measurement, PlainInput
from exporter.progress import Stages, by_layer, silent
from exporter.quantization.ranges import measure_fp16
from exporter.quantization.rescale import RescaledWeights

LARGEST = 65504.0


def to_fp16(values: npt.NDArray[np.float32], *, name: str) -> npt.NDArray[np.float16]:
    """Round to float16. Raises BadInput naming the tensor where a value does not fit."""
    largest = float(np.abs(values).max(initial=0))
    if largest > LARGEST:
        raise BadInput(
            f"'{name}' holds {largest:.3g} after rescaling, over float16's 65,504; "
            "export with --quant fp32"
        )
    return values.astype(np.float16)


class Fp16(PlainInput):
    """See `exporter.formats.onnx.scheme.Scheme`."""

    name = "fp16"
    compute = np.float16
    kept: tuple[str, ...] = (
        "pooling and normalisation run in float32: a sum over many tokens would leave float16",
    )

    def bytes_per_weight(self) -> float:
        return 2.0

    def measure(
        self,
        checkpoint: Checkpoint,
        texts: Sequence[str],
        *,
        keep: Path | None = None,
        stages: Stages = silent,
    ) -> Measurement:
        del keep
        assert checkpoint.architecture is not None
        measured = by_layer(stages("fp16: layers measured", checkpoint.architecture.num_layers))
        rescaling, record = measure_fp16(checkpoint, texts, on_layer=measured)
        return Measurement(self, RescaledWeights(checkpoint, rescaling), fp16=record)

    def lookup(self, writer: GraphWriter, table: Table, ids: str, *, scale: float) -> str:
        def stored(block: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
            return to_fp16(block * np.float32(scale), name="embed_tokens")

        return lookup_rows(writer, table, ids, dtype=np.float16, stored=stored)

    def matmul(self, writer: GraphWriter, x: Input, weight: Load, *, name: str) -> str:
        stored = writer.weight(name, to_fp16(weight(), name=name))
        product: str = writer.node("MatMul", [x.values, stored])
        return product


SCHEME = Fp16()
