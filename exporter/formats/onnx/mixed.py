"""`mixed`: 4 or 8 bits for each matrix, 3 to 6 or 8 for the table, by the error of the vector."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from exporter.architectures.family import TABLE
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.table import Table
from exporter.formats.onnx.built import export_built
from exporter.formats.onnx.flavour import Flavour
from exporter.formats.onnx.graph_writer import ALIGNMENT, GraphWriter
from exporter.formats.onnx.lookup import NIBBLE, PLANES
from exporter.formats.onnx.scheme import Measurement
from exporter.formats.onnx.scheme_blocks import BlockBits, Blocks, check_even
from exporter.progress import Stages, next_stage, silent
from exporter.quantization.block_inputs import round_blocks
from exporter.quantization.blocks import (
    BLOCK,
    BlockMatrix,
    BlockModel,
    fit_blocks,
    quantize_table_rows,
    rotated_blocks,
)
from exporter.quantization.budget import Sizes, check_budget, choose
from exporter.quantization.channels import smoothed_weights
from exporter.quantization.forward import Round
from exporter.quantization.sensitivity import Width, kept_sensitivity, measure_sensitivity
from exporter.quantization.table import table_block, table_rounding
from exporter.quantization.weights import ModelWeights

MATRIX_BITS = (4, 8)
TABLE_BITS = (*PLANES, 8)
LOOKUP_BYTES = 1 << 13
"""Of the nodes that look up the table, at most."""


class Mixed(Blocks):
    """See `exporter.formats.onnx.scheme.MeasuringScheme`. `budget`: the bytes of the whole model;
    `fixed`: of those, what stays whatever is chosen."""

    def __init__(self, budget: int = 0, *, fixed: int = 0) -> None:
        super().__init__("mixed", np.float32)
        self._budget, self._fixed = budget, fixed

    def within(self, budget: int, checkpoint: Checkpoint, *, dim: int, flavour: Flavour) -> "Mixed":
        """Return the scheme for a budget in bytes. Raises BadInput, naming the least, for one below
        what is possible."""
        check_even(checkpoint)
        fixed = fixed_bytes(checkpoint, dim=dim, flavour=flavour)
        check_budget(budget, fixed, _sizes(checkpoint))
        return Mixed(budget, fixed=fixed)

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
        chosen = choose(self._budget, fixed=self._fixed, sizes=_sizes(checkpoint), errors=errors)
        bits = {name: int(width.removesuffix("bit")) for name, width in chosen.widths.items()}
        found = self.rounded(
            weights, texts, BlockBits(bits.pop(TABLE), bits, chosen.reasons), stages=stages
        )
        scheme = found.scheme
        scheme.kept += (chosen.summary(self._budget),)
        return found


def fixed_bytes(checkpoint: Checkpoint, *, dim: int, flavour: Flavour) -> int:
    """Return the bytes of a graph without its table and matrices: one is written with zeros in
    the narrowest width and without a table, and weighed."""
    sizes = _sizes(checkpoint)
    least = sum(min(widths.values()) for name, widths in sizes.items() if name != TABLE)
    with tempfile.TemporaryDirectory() as folder:
        export_built(checkpoint, Path(folder), scheme=_Zeros(checkpoint), dim=dim, flavour=flavour)
        written = sum(file.stat().st_size for file in Path(folder).iterdir())
    # Tensors of another width end elsewhere, and what follows is aligned.
    return written - least + 3 * len(sizes) * ALIGNMENT + LOOKUP_BYTES


class _Zeros(Blocks):
    """Stores zeros for matrices and nothing for the table; its graph is only weighed."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        weights = rotated_blocks(ModelWeights(checkpoint))
        matrices = {}
        for name, (out, width) in weights.matrix_shapes.items():
            blocks = -(-width // BLOCK)
            zeros = np.zeros((out, blocks), np.uint8)
            matrices[name] = BlockMatrix(
                np.zeros((out, width), np.uint8), zeros, zeros.astype(np.float32), NIBBLE
            )
        super().__init__("mixed", np.float32, model=BlockModel(weights, matrices))

    def lookup(self, writer: GraphWriter, table: Table, ids: str, *, scale: float) -> str:
        del table, scale
        found: str = writer.node("Identity", [ids])
        return found


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
