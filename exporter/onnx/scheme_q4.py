"""4-bit weights in blocks of 32, rounded so that their errors compensate each other (GPTQ).

Matrices are stored for MatMulNBits with int8 arithmetic (accuracy_level 4), whose activation scales
belong to one row and block, so that a text's vector does not depend on its companions. The
embedding table has 4 bits too, its scales searched; the head keeps the dtype of computation:
float32 for q4, and for q4f16 float16, in a graph whose weights were rescaled so that it fits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import Checkpoint, TensorInfo
from exporter.checkpoint.safetensors_file import read_row_blocks
from exporter.errors import BadInput
from exporter.onnx.graph_writer import FLOAT, FLOAT16, GraphWriter
from exporter.onnx.scheme import TABLE_BLOCK_BYTES, Measured, corrected, row_scales
from exporter.progress import Stages, by_layer, silent
from exporter.quantization.activations import measure_int8
from exporter.quantization.forward import run_backbone
from exporter.quantization.gptq import (
    BLOCK,
    MIDDLE,
    Quantized,
    quantize_model,
    quantize_table_rows,
)
from exporter.quantization.head import Choice
from exporter.quantization.ranges import measure_fp16
from exporter.quantization.rescale import RescaledWeights
from exporter.quantization.weights import ModelWeights


class Q4:
    """See `exporter.onnx.scheme.MeasuringScheme`. `matrices`: by their name in the checkpoint."""

    corrects_head = True

    def __init__(
        self, name: str, compute: type[np.floating[Any]], *,
        matrices: Mapping[str, Quantized] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.compute = name, compute
        self._dtype = np.dtype(compute)
        self._matrices = matrices or {}
        self.kept: tuple[str, ...] = (
            f"RMSNorm gains and rotary tables stay {self._dtype}: few bytes, applied to it",
            f"the head (all Dense as one matrix) stays {self._dtype}: its errors are the vector's",
        )

    def bytes_per_weight(self) -> float:
        return 0.65

    def measure(
        self, checkpoint: Checkpoint, texts: Sequence[str], *, head_correction: Choice,
        stages: Stages = silent,
    ) -> Measured:  # fmt: skip
        assert checkpoint.architecture is not None
        if checkpoint.architecture.hidden_size % 2:
            raise BadInput("--quant q4 packs two weights a byte and needs an even hidden_size")
        count = checkpoint.architecture.num_layers
        measured = by_layer(stages(f"{self.name}: layers measured", count))
        weights: ModelWeights
        fp16 = None
        if self.compute is np.float16:
            rescaling, fp16 = measure_fp16(checkpoint, texts, on_layer=measured)
            weights = RescaledWeights(checkpoint, rescaling)
            reference = run_backbone(checkpoint, texts)
        else:
            # The operator rounds activations to int8 in blocks of 32: outliers hurt there too.
            weights, _, reference = measure_int8(checkpoint, texts, on_layer=measured)
        matrices, pooled = quantize_model(
            weights, texts, on_layer=by_layer(stages(f"{self.name}: layers rounded", count))
        )
        found = corrected(
            Q4(self.name, self.compute, matrices=matrices), weights, reference, lambda: pooled,
            choice=head_correction,
        )  # fmt: skip
        return replace(found, fp16=fp16)

    def lookup(self, writer: GraphWriter, table: TensorInfo, ids: str, *, scale: float) -> str:
        """Plain operators, since browsers lack GatherBlockQuantized on the CPU.

        A byte holds the columns i (low) and i + hidden / 2 (high).
        """
        rows, width = table.shape
        half, parts = width // 2, -(-width // BLOCK)
        peak = max(
            float(np.abs(values).max())
            for values in read_row_blocks(table, block_bytes=TABLE_BLOCK_BYTES)
        )
        # Scales are stored in units of the largest: float16 holds them whatever the table's size.
        unit = max(peak, 1e-30) / MIDDLE
        scales: list[npt.NDArray[np.float16]] = []

        def blocks() -> Iterator[npt.NDArray[np.uint8]]:
            for values in read_row_blocks(table, block_bytes=TABLE_BLOCK_BYTES):
                found = quantize_table_rows(values)
                scales.append((found.scales / np.float32(unit)).astype(np.float16))
                yield (found.codes[:, :half] | (found.codes[:, half:] << 4)).astype(np.uint8)

        stored = writer.streamed(
            "embed_tokens", blocks(), (rows, half), np.uint8, bits=4 + 16 / BLOCK
        )
        stored_scales = writer.weight(
            "embed_tokens_scale", np.concatenate(scales), reason=f"scale of {BLOCK} table weights"
        )
        both = writer.node("Cast", [writer.node("Gather", [stored, ids], axis=0)], to=FLOAT)
        sixteenth = writer.node("Mul", [both, writer.constant(1 / 16, np.float32)])
        high = writer.node("Floor", [sixteenth])
        shifted = writer.node("Mul", [high, writer.constant(16.0, np.float32)])
        low = writer.node("Sub", [both, shifted])
        codes = writer.node("Concat", [low, high], axis=-1)
        centred = writer.node("Sub", [codes, writer.constant(float(MIDDLE), np.float32)])
        gathered = row_scales(writer, stored_scales, ids)
        scaling = writer.node("Mul", [gathered, writer.constant(unit * scale, np.float32)])
        if width % BLOCK:
            pads = writer.constant([0, 0, 0, 0, 0, parts * BLOCK - width], np.int64)
            centred = writer.node("Pad", [centred, pads])
        split = writer.node("Reshape", [centred, writer.constant([0, 0, parts, BLOCK], np.int64)])
        scaling = writer.node("Unsqueeze", [scaling, writer.constant([-1], np.int64)])
        scaled = writer.node("Mul", [split, scaling])
        whole = writer.node(
            "Reshape", [scaled, writer.constant([0, 0, parts * BLOCK], np.int64)]
        )  # fmt: skip
        if width % BLOCK:
            bounds = [writer.constant([n], np.int64) for n in (0, width, 2)]
            whole = writer.node("Slice", [whole, *bounds])
        found: str = writer.node("Cast", [whole], to=self._kind)
        return found

    def matmul(
        self, writer: GraphWriter, x: str, weight: npt.NDArray[np.float32], *, name: str
    ) -> str:
        found = self._matrices.get(name)
        if found is None:
            stored = writer.weight(name, weight.astype(self.compute), reason="see kept: the head")
            exact: str = writer.node("MatMul", [x, stored])
            return exact
        scales = found.scales.astype(self.compute)
        stored = writer.weight(
            name, pack_blocks(found.codes), bits=4 + 8 * self._dtype.itemsize / BLOCK
        )
        stored_scales = writer.weight(
            name + "_scale", scales, reason=f"scale of {BLOCK} weights of an output"
        )
        product: str = writer.node(
            "MatMulNBits", [x, stored, stored_scales], domain="com.microsoft",
            K=weight.shape[0], N=weight.shape[1], bits=4, block_size=BLOCK, accuracy_level=4,
        )  # fmt: skip
        return product

    @property
    def _kind(self) -> int:
        return FLOAT16 if self.compute is np.float16 else FLOAT


def pack_blocks(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pack for MatMulNBits. codes: (n, k), 0 to 15. Returns (n, blocks, 16) uint8, low nibble
    first; a last block that is not full is filled with the code of zero."""
    n, k = codes.shape
    padded = np.pad(codes, ((0, 0), (0, -k % BLOCK)), constant_values=MIDDLE)
    pairs = padded.reshape(n, -1, BLOCK // 2, 2)
    return np.ascontiguousarray(pairs[..., 0] | (pairs[..., 1] << 4), np.uint8)


SCHEME = Q4("q4", np.float32)
SCHEME_F16 = Q4("q4f16", np.float16)
