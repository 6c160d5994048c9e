"""4-bit weights in blocks of 32, rounded so that their errors compensate each other (GPTQ).

Matrices are stored for MatMulNBits with int8 arithmetic (accuracy_level 4), whose activation scales
belong to one row and block, so that a text's vector does not depend on its companions. Inputs are
rotated in the same blocks (`exporter.quantization.rotate`): on the real model an eighth off the
median error and nearly half off the worst. The embedding table has 4 bits too, its scales searched;
the head keeps the dtype of computation: float32 for q4, and for q4f16 float16, in a graph whose
weights were rescaled so that it fits.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.table import Table
from exporter.errors import BadInput
from exporter.formats.onnx.graph_writer import FLOAT, FLOAT16, GraphWriter
from exporter.formats.onnx.scheme import Input, Load, Measurement, rotate, row_scales
from exporter.progress import Stages, by_layer, silent
from exporter.quantization.channels import smoothed_weights
from exporter.quantization.q4 import BITS, BLOCK, Q4Model, quantize_q4, quantize_table_rows
from exporter.quantization.ranges import measure_fp16
from exporter.quantization.rescale import RescaledWeights
from exporter.quantization.weights import ModelWeights

SIXTEEN = 2**BITS


class Q4:
    """See `exporter.formats.onnx.scheme.MeasuringScheme`."""

    def __init__(
        self, name: str, compute: type[np.floating[Any]], *, model: Q4Model | None = None
    ) -> None:
        self.name, self.compute = name, compute
        self._dtype = np.dtype(compute)
        self._model = model
        self.kept: tuple[str, ...] = (
            f"RMSNorm gains and rotary tables stay {self._dtype}: few bytes, applied to it",
            f"the head (all Dense as one matrix) stays {self._dtype}: its errors are the vector's",
        )

    def bytes_per_weight(self) -> float:
        return 0.65

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
        if checkpoint.architecture.hidden_size % 2:
            raise BadInput("--quant q4 packs two weights a byte and needs an even hidden_size")
        count = checkpoint.architecture.num_layers
        weights: ModelWeights
        fp16 = None
        if self.compute is np.float16:
            measured = by_layer(stages(f"{self.name}: layers measured", count))
            rescaling, fp16 = measure_fp16(checkpoint, texts, on_layer=measured)
            weights = RescaledWeights(checkpoint, rescaling)
        else:
            # The operator rounds inputs to 8 bits in blocks of 32: large channels cost others.
            measured = by_layer(stages(f"{self.name}: layers measured", count))
            weights = smoothed_weights(checkpoint, texts, on_layer=measured)
        rounded = by_layer(stages(f"{self.name}: layers rounded", count))
        model = quantize_q4(weights, texts, on_layer=rounded)
        return Measurement(Q4(self.name, self.compute, model=model), model.weights, fp16=fp16)

    def lookup(self, writer: GraphWriter, table: Table, ids: str, *, scale: float) -> str:
        """Plain operators, since browsers lack GatherBlockQuantized on the CPU.

        A byte holds the columns i (low) and i + hidden / 2 (high), and of the zero points likewise.
        """
        rows, width = table.shape
        half, parts = width // 2, -(-width // BLOCK)
        # Scales are stored in units of the largest: float16 holds them whatever the table's size.
        unit = max(table.largest, 1e-30) / (SIXTEEN // 2)
        scales: list[npt.NDArray[np.float16]] = []
        zeros: list[npt.NDArray[np.uint8]] = []

        def blocks() -> Iterator[npt.NDArray[np.uint8]]:
            for values in table.blocks():
                found = quantize_table_rows(values)
                scales.append((found.scales / np.float32(unit)).astype(np.float16))
                zeros.append(halves(found.zeros))
                yield halves(found.codes)

        stored = writer.streamed(
            "embed_tokens", blocks(), (rows, half), np.uint8, bits=BITS + (16 + BITS) / BLOCK
        )
        stored_scales = writer.weight(
            "embed_tokens_scale", np.concatenate(scales), reason=f"scale of {BLOCK} table weights"
        )
        stored_zeros = writer.weight(
            "embed_tokens_zero", np.concatenate(zeros), reason=f"zero of {BLOCK} table weights"
        )
        codes = unpack_halves(writer, stored, ids, width=width)
        gathered = row_scales(writer, stored_scales, ids)
        scaling = writer.node("Mul", [gathered, writer.constant(unit * scale, np.float32)])
        zero = unpack_halves(writer, stored_zeros, ids, width=parts)
        if width % BLOCK:
            pads = writer.constant([0, 0, 0, 0, 0, parts * BLOCK - width], np.int64)
            codes = writer.node("Pad", [codes, pads])
        split = writer.node("Reshape", [codes, writer.constant([0, 0, parts, BLOCK], np.int64)])
        last = writer.constant([-1], np.int64)
        centred = writer.node("Sub", [split, writer.node("Unsqueeze", [zero, last])])
        scaled = writer.node("Mul", [centred, writer.node("Unsqueeze", [scaling, last])])
        whole = writer.node("Reshape", [scaled, writer.constant([0, 0, parts * BLOCK], np.int64)])
        if width % BLOCK:
            bounds = [writer.constant([n], np.int64) for n in (0, width, 2)]
            whole = writer.node("Slice", [whole, *bounds])
        found: str = writer.node("Cast", [whole], to=self._kind)
        return found

    def enter(self, writer: GraphWriter, x: str, *, site: str) -> Input:
        """Rotate: outliers spread over the blocks in which weights and inputs are rounded."""
        assert self._model is not None
        block = self._model.weights.runtime_block(site)
        return Input(rotate(writer, x, block=block, compute=self.compute))

    def matmul(self, writer: GraphWriter, x: Input, weight: Load, *, name: str) -> str:
        if self._model is None or name not in self._model.matrices:
            stored = writer.weight(name, weight().astype(self.compute), reason="see kept: the head")
            exact: str = writer.node("MatMul", [x.values, stored])
            return exact
        found = self._model.matrices[name]
        out, width = found.codes.shape
        bits = BITS + (8 * self._dtype.itemsize + BITS) / BLOCK
        stored = writer.weight(name, pack_blocks(found.codes), bits=bits)
        stored_scales = writer.weight(
            name + "_scale",
            found.scales.astype(self.compute),
            reason=f"scale of {BLOCK} weights of an output",
        )
        stored_zeros = writer.weight(
            name + "_zero", pack_pairs(found.zeros), reason=f"zero of {BLOCK} weights of an output"
        )
        product: str = writer.node(
            "MatMulNBits",
            [x.values, stored, stored_scales, stored_zeros],
            domain="com.microsoft",
            K=width,
            N=out,
            bits=BITS,
            block_size=BLOCK,
            accuracy_level=4,
        )
        return product

    @property
    def _kind(self) -> int:
        return FLOAT16 if self.compute is np.float16 else FLOAT


def halves(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pack the first half of each row's columns (low) with the second (high). codes: (n, k), 0 to
    15. Returns (n, (k + 1) // 2)."""
    even = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    half = even.shape[1] // 2
    return (even[:, :half] | (even[:, half:] << 4)).astype(np.uint8)


def unpack_halves(writer: GraphWriter, stored: str, ids: str, *, width: int) -> str:
    """Add the lookup of rows that `halves` packed. Returns (batch, sequence, width) float32."""
    both = writer.node("Cast", [writer.node("Gather", [stored, ids], axis=0)], to=FLOAT)
    part = writer.node("Mul", [both, writer.constant(1 / SIXTEEN, np.float32)])
    high = writer.node("Floor", [part])
    shifted = writer.node("Mul", [high, writer.constant(float(SIXTEEN), np.float32)])
    low = writer.node("Sub", [both, shifted])
    codes: str = writer.node("Concat", [low, high], axis=-1)
    if width % 2:
        bounds = [writer.constant([n], np.int64) for n in (0, width, 2)]
        codes = writer.node("Slice", [codes, *bounds])
    return codes


def pack_pairs(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pack two neighbours of a row in a byte, low nibble first. codes: (n, k), 0 to 15."""
    even = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    return np.ascontiguousarray(even[:, 0::2] | (even[:, 1::2] << 4), np.uint8)


def pack_blocks(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pack for MatMulNBits. codes: (n, k), 0 to 15. Returns (n, blocks, 16) uint8; a last block
    that is not full is filled with zeros, which meet inputs of zero."""
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % BLOCK)))
    return pack_pairs(padded).reshape(len(codes), -1, BLOCK // 2)


SCHEME = Q4("q4", np.float32)
SCHEME_F16 = Q4("q4f16", np.float16)
