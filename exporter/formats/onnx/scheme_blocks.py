"""Weights in blocks of 32, rounded so that their errors compensate each other (GPTQ).

Matrices are stored in 4 or 8 bits for MatMulNBits with int8 arithmetic (accuracy_level 4), whose
activation scales belong to one row and block, so that a text's vector does not depend on its
companions: wider blocks give rows another sum in a batch than alone (onnxruntime 1.32). Inputs are
rotated in the same blocks (`exporter.quantization.rotate`): on the real model an eighth off the
median error and nearly half off the worst. The embedding table has 3 to 6 or 8 bits, its scales
searched; the head keeps the dtype of computation: float32, and for q4f16 float16, in a graph whose
weights were rescaled so that it fits.

`q4` has 4 bits everywhere; `mixed` has what `exporter.quantization.budget` chooses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import TABLE
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.table import Table
from exporter.errors import BadInput
from exporter.formats.onnx.graph_writer import FLOAT, FLOAT16, GraphWriter
from exporter.formats.onnx.lookup import NIBBLE, lookup_blocks, lookup_int8
from exporter.formats.onnx.scheme import Input, Load, Measurement, rotate
from exporter.progress import Stages, next_stage, silent
from exporter.quantization.blocks import BLOCK, BlockModel, quantize_blocks
from exporter.quantization.channels import smoothed_weights
from exporter.quantization.ranges import measure_fp16
from exporter.quantization.rescale import RescaledWeights
from exporter.quantization.weights import ModelWeights


@dataclass(frozen=True)
class BlockBits:
    """Bits of the table, and of each matrix that has more than 4. `reasons`: why, by tensor."""

    table: int = NIBBLE
    matrices: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str) -> int:
        """Return the bits of a matrix, named as `layers.0.self_attn.q_proj`."""
        return self.matrices.get(name, NIBBLE)


class Blocks:
    """See `exporter.formats.onnx.scheme.MeasuringScheme`."""

    def __init__(
        self,
        name: str,
        compute: type[np.floating[Any]],
        *,
        bits: BlockBits | None = None,
        model: BlockModel | None = None,
    ) -> None:
        self.name, self.compute = name, compute
        self._dtype = np.dtype(compute)
        self._bits = bits or BlockBits()
        self._model = model
        self.kept: tuple[str, ...] = (
            f"norms, biases and tables of positions stay {self._dtype}: few bytes, applied to it",
            f"the head (all Dense as one matrix, if any) stays {self._dtype}: its errors are the "
            "vector's",
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
        check_even(checkpoint)
        assert checkpoint.architecture is not None
        count = checkpoint.architecture.num_layers
        measured = next_stage(stages, f"{self.name}: layers measured", count)
        weights: ModelWeights
        fp16 = None
        if self.compute is np.float16:
            rescaling, fp16 = measure_fp16(checkpoint, texts, on_layer=measured)
            weights = RescaledWeights(checkpoint, rescaling)
        else:
            # The operator rounds inputs to 8 bits in blocks of 32: large channels cost others.
            weights = smoothed_weights(checkpoint, texts, on_layer=measured)
        return self.rounded(weights, texts, self._bits, fp16=fp16, stages=stages)

    def rounded(
        self,
        weights: ModelWeights,
        texts: Sequence[str],
        bits: BlockBits,
        *,
        fp16: Any = None,
        stages: Stages = silent,
    ) -> Measurement:
        """Return the scheme to write `weights` with, their matrices rounded to `bits`."""
        count = weights.architecture.num_layers
        model = quantize_blocks(
            weights,
            texts,
            bits=bits.of,
            table_bits=bits.table,
            on_layer=next_stage(stages, f"{self.name}: layers rounded", count),
        )
        made = Blocks(self.name, self.compute, bits=bits, model=model)
        return Measurement(made, model.weights, fp16=fp16)

    def lookup(self, writer: GraphWriter, table: Table, ids: str, *, scale: float) -> str:
        if self._bits.table == 8:
            return lookup_int8(writer, table, ids, scale=scale, reason=self._reason(TABLE))
        return lookup_blocks(
            writer,
            table,
            ids,
            scale=scale,
            bits=self._bits.table,
            kind=FLOAT16 if self.compute is np.float16 else FLOAT,
            reason=self._reason(TABLE),
        )

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
        bits = found.bits + (8 * self._dtype.itemsize + found.bits) / BLOCK
        stored = writer.weight(
            name, pack_blocks(found.codes, bits=found.bits), bits=bits, reason=self._reason(name)
        )
        stored_scales = writer.weight(
            name + "_scale",
            found.scales.astype(self.compute),
            reason=f"scale of {BLOCK} weights of an output",
        )
        zeros = pack_pairs(found.zeros) if found.bits == NIBBLE else found.zeros
        stored_zeros = writer.weight(
            name + "_zero", zeros, reason=f"zero of {BLOCK} weights of an output"
        )
        product: str = writer.node(
            "MatMulNBits",
            [x.values, stored, stored_scales, stored_zeros],
            domain="com.microsoft",
            K=width,
            N=out,
            bits=found.bits,
            block_size=BLOCK,
            accuracy_level=4,
        )
        return product

    def _reason(self, name: str) -> str:
        return self._bits.reasons.get(name, "")


def check_even(checkpoint: Checkpoint) -> None:
    """Raise BadInput where two weights do not share a byte."""
    assert checkpoint.architecture is not None
    if checkpoint.architecture.hidden_size % 2:
        raise BadInput("4 bits pack two weights a byte and need an even hidden_size")


def pack_pairs(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pack two neighbours of a row in a byte, low nibble first. codes: (n, k), 0 to 15."""
    even = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    return np.ascontiguousarray(even[:, 0::2] | (even[:, 1::2] << 4), np.uint8)


def pack_blocks(codes: npt.NDArray[np.uint8], *, bits: int) -> npt.NDArray[np.uint8]:
    """Pack for MatMulNBits. codes: (n, k), of 4 or 8 bits. Returns (n, blocks, 4 * bits) uint8; a
    last block that is not full is filled with zeros, which meet inputs of zero."""
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % BLOCK)))
    packed = pack_pairs(padded) if bits == NIBBLE else padded
    return packed.reshape(len(codes), -1, BLOCK * bits // 8)


SCHEME = Blocks("q4", np.float32)
SCHEME_F16 = Blocks("q4f16", np.float16)
