"""`mixed`: 4 or 8 bits for each matrix, 3 to 6 or 8 for the table, by the error of the vector."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from exporter.architectures.family import TABLE
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.table import Table
from exporter.formats.onnx.built import export_built
from exporter.formats.onnx.flavour import Flavour
from exporter.formats.onnx.graph_writer import ALIGNMENT, FLOAT, GraphWriter
from exporter.formats.onnx.lookup import NIBBLE, PLANES, lookup_blocks, lookup_int8
from exporter.formats.onnx.scheme import Measurement
from exporter.formats.onnx.scheme_blocks import BlockBits, Blocks, check_even
from exporter.progress import Stages, next_stage, silent
from exporter.quantization.batches import Round
from exporter.quantization.block_inputs import round_blocks
from exporter.quantization.blocks import (
    BLOCK,
    BlockMatrix,
    BlockModel,
    fit_blocks,
    quantize_table_rows,
    rotated_blocks,
)
from exporter.quantization.budget import Chosen, Errors, Sizes, check_budget, choose, chosen_of
from exporter.quantization.channels import smoothed_weights
from exporter.quantization.sensitivity import Width, kept_sensitivity, measure_sensitivity
from exporter.quantization.table import table_block, table_rounding
from exporter.quantization.weights import ModelWeights

MATRIX_BITS = (4, 8)
TABLE_BITS = (*PLANES, 8)
TRIES = 8
ZERO_ROWS = 8192


Weigh = Callable[[BlockBits], int]
"""The bytes of graph and weights that widths come to."""


class Mixed(Blocks):
    """See `exporter.formats.onnx.scheme.MeasuringScheme`. `budget`: the bytes of the whole model;
    `weigh`: what widths come to; `fixed`: of that, what is no tensor, in the narrowest."""

    def __init__(self, budget: int = 0, *, weigh: Weigh = lambda _: 0, fixed: int = 0) -> None:
        super().__init__("mixed", np.float32)
        self._budget, self._weigh, self._fixed = budget, weigh, fixed

    def within(self, budget: int, checkpoint: Checkpoint, *, dim: int, flavour: Flavour) -> "Mixed":
        """Return the scheme for a budget in bytes. Raises BadInput, naming the least, for one below
        what is possible."""
        check_even(checkpoint)
        sizes = _sizes(checkpoint)

        def weigh(bits: BlockBits) -> int:
            return weighed(checkpoint, bits, dim=dim, flavour=flavour)

        fixed = weigh(_bits(_narrowest(sizes))) - _least(sizes)
        check_budget(budget, fixed, sizes)
        return Mixed(budget, weigh=weigh, fixed=fixed)

    def bytes_per_weight(self) -> float:
        return 1.2

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
        weights = smoothed_weights(
            checkpoint, texts, on_layer=next_stage(stages, "mixed: layers measured", count)
        )
        turned = rotated_blocks(weights)
        errors = kept_sensitivity(
            keep,
            checkpoint,
            texts,
            what="onnx",
            measure=lambda: measure_sensitivity(
                turned,
                texts,
                widths=lambda site: _WIDTHS,
                tables={_name(bits): _table_rounding(turned.table, bits) for bits in TABLE_BITS},
                on_layer=next_stage(stages, "mixed: layers tried in every width", count),
            ),
        )
        chosen = self._fitting(_sizes(checkpoint), errors)
        found = self.rounded(weights, texts, _bits(chosen.widths, chosen.reasons), stages=stages)
        scheme = found.scheme
        scheme.kept += (chosen.summary(self._budget),)
        return found

    def _fitting(self, sizes: Sizes, errors: Errors) -> Chosen:
        """Return the best widths whose file, weighed, stays within the budget.

        What a graph weighs besides its tensors depends a little on the choice: alignment, and the
        nodes that look up the table. So a choice is weighed, and what it is over is kept free.
        """
        fixed = self._fixed - 3 * len(sizes) * ALIGNMENT
        best = chosen_of(_narrowest(sizes), sizes=sizes, errors=errors)
        for _ in range(TRIES):
            if self._budget < fixed + _least(sizes):
                break
            chosen = choose(self._budget, fixed=fixed, sizes=sizes, errors=errors)
            over = self._weigh(_bits(chosen.widths)) - self._budget
            if over <= 0:
                best = chosen
                break
            fixed += over
        # A file of the uniform scheme's size need never be worse than that scheme.
        even = chosen_of(dict.fromkeys(sizes, _name(NIBBLE)), sizes=sizes, errors=errors)
        if even.error < best.error and self._weigh(_bits(even.widths)) <= self._budget:
            return even
        return best


def weighed(checkpoint: Checkpoint, bits: BlockBits, *, dim: int, flavour: Flavour) -> int:
    """Return the bytes of graph and weights in these widths: one is written with zeros."""
    with tempfile.TemporaryDirectory() as folder:
        scheme = _Zeros(checkpoint, bits)
        export_built(checkpoint, Path(folder), scheme=scheme, dim=dim, flavour=flavour)
        return sum(file.stat().st_size for file in Path(folder).iterdir())


class _Zeros(Blocks):
    """Stores zeros: its graph is only weighed."""

    def __init__(self, checkpoint: Checkpoint, bits: BlockBits) -> None:
        weights = rotated_blocks(ModelWeights(checkpoint))
        matrices = {
            name: _zeros(out, width, bits.of(name))
            for name, (out, width) in weights.matrix_shapes.items()
        }
        model = BlockModel(weights, matrices)
        super().__init__("mixed", np.float32, bits=bits, model=model)

    def lookup(self, writer: GraphWriter, table: Table, ids: str, *, scale: float) -> str:
        rows, width = table.shape
        parts = [min(ZERO_ROWS, rows - start) for start in range(0, rows, ZERO_ROWS)]
        bits = self._bits.table
        if bits == 8:
            scales = width // table_block(table)
            coded = (
                (np.zeros((n, width), np.int8), np.zeros((n, scales), np.float16)) for n in parts
            )
            return lookup_int8(writer, table, ids, scale=scale, coded=coded)
        zeros = (_zeros(n, width, bits) for n in parts)
        return lookup_blocks(
            writer, table, ids, scale=scale, bits=bits, kind=FLOAT, reason="", coded=zeros
        )


def _zeros(out: int, width: int, bits: int) -> BlockMatrix:
    blocks = -(-width // BLOCK)
    zeros = np.zeros((out, blocks), np.uint8)
    return BlockMatrix(np.zeros((out, width), np.uint8), zeros, zeros.astype(np.float32), bits)


def _least(sizes: Sizes) -> int:
    return sum(min(widths.values()) for widths in sizes.values())


def _narrowest(sizes: Sizes) -> dict[str, str]:
    return {name: min(widths, key=widths.__getitem__) for name, widths in sizes.items()}


def _bits(widths: Mapping[str, str], reasons: Mapping[str, str] | None = None) -> BlockBits:
    bits = {name: int(width.removesuffix("bit")) for name, width in widths.items()}
    return BlockBits(bits.pop(TABLE), bits, reasons or {})


def _sizes(checkpoint: Checkpoint) -> Sizes:
    """Return the bytes of every matrix, and of the table, in every width."""
    weights = ModelWeights(checkpoint)
    rows, hidden = weights.table.shape
    blocks = -(-hidden // BLOCK)
    eight = hidden + 2 * (hidden // table_block(weights.table))
    sizes = {TABLE: {_name(8): rows * eight}}
    for bits, planes in PLANES.items():
        packed = sum(-(-hidden * part // 8) for part in planes)
        zeros = blocks if bits > NIBBLE else -(-blocks // 2)
        sizes[TABLE][_name(bits)] = rows * (packed + 2 * blocks + zeros)
    for name, (out, width) in weights.matrix_shapes.items():
        blocks = -(-width // BLOCK)
        sizes[name] = {
            _name(bits): out * (blocks * (4 * bits + 4) + -(-blocks * bits // 8))
            for bits in MATRIX_BITS
        }
    return sizes


def _name(bits: int) -> str:
    return f"{bits}bit"


def _table_rounding(table: Table, bits: int) -> Round:
    if bits == 8:
        return table_rounding(table)
    return lambda rows: quantize_table_rows(rows, bits=bits).values()


_WIDTHS = tuple(Width(_name(bits), fit_blocks(bits), round_blocks(BLOCK)) for bits in MATRIX_BITS)
SCHEME = Mixed()
