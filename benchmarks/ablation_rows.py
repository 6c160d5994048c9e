"""The rows of `benchmarks.ablation`: each one way to round the model, emulated in float32."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import layer_name
from exporter.quantization.batches import Round
from exporter.quantization.blocks import fit_blocks
from exporter.quantization.functions import torch_module
from exporter.quantization.gptq import Grid
from exporter.quantization.grids import block_grid
from exporter.quantization.int8 import fit_rows
from exporter.quantization.pairs import TINY
from exporter.quantization.rotate import RotatedWeights
from exporter.quantization.rounding import Fit, Rounded, RoundInput, exact, round_rows

Floats = npt.NDArray[np.float32]
Texts = Literal["bundled", "in-domain"]

SITES = ("attention_in", "attended", "mlp_in", "product")
"""Those of Gemma 3, in the order in which they are reached."""
FOLDED = {"attended": 256}
PRODUCT = {**FOLDED, "product": 64}
SHRINK = (1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.82, 0.78, 0.74, 0.7)


def everywhere(block: int) -> dict[str, int]:
    """Return the rotation of every site in blocks of one size, v and o folded by heads."""
    return dict.fromkeys(SITES, block) | FOLDED


@dataclass(frozen=True)
class Row:
    """One way. `rounds`: the inputs of matrices, `static` for a scale a tensor; `fit`: the grid of
    the weights, None to leave them; `compensated`: GPTQ, else to nearest; `table_bits`: None to
    leave the table; `smoothed`: large channels moved into weights first."""

    name: str
    blocks: Mapping[str, int] = field(default_factory=dict)
    rounds: RoundInput | Literal["static"] = exact
    fit: Fit | None = None
    compensated: bool = False
    texts: Texts = "bundled"
    aim: Literal["yes", "no"] = "no"
    table_bits: int | None = None
    smoothed: bool = False


class Nearest(Mapping[str, Rounded]):
    """Every matrix rounded to nearest when it is asked for; scales searched, every column alike."""

    def __init__(self, weights: RotatedWeights, fit: Fit) -> None:
        self._weights, self._fit = weights, fit
        self._names = [
            layer_name(i, matrix)
            for i in range(weights.architecture.num_layers)
            for site in weights.sites
            for matrix in site.matrices
        ]

    def __getitem__(self, name: str) -> Rounded:
        torch = torch_module()
        weight = torch.from_numpy(self._weights.matrix(name))
        grid = self._fit(name, weight, torch.ones(weight.shape[1]))
        return Rounded(grid.nearest(weight), grid)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class ByLayer:
    """A `RoundInput` that measures each site's largest magnitude, then rounds by it, one scale for
    all rows."""

    def __init__(self, largest: dict[tuple[int, str], float] | None = None) -> None:
        self.largest = {} if largest is None else largest
        self._measuring = largest is None

    def __call__(self, layer: int, site: str, values: Any) -> Any:
        at = (layer, site)
        if self._measuring:
            self.largest[at] = max(self.largest.get(at, 0.0), float(values.abs().max()))
            return values
        step = max(self.largest[at], TINY) / 127
        return (values / step).round().clamp(-127, 127) * step


def symmetric(weight: Any, importance: Any, *, block: int, high: int) -> Grid:
    """Return signed codes from -high to high without zero points, a scale a block of columns: the
    one of a few that rounds with the least error. The arguments are as for `row_grid`."""
    torch = torch_module()
    rows, width = weight.shape
    pad = -width % block
    values = torch.nn.functional.pad(weight, (0, pad)).view(rows, -1, block)
    weights = torch.nn.functional.pad(importance, (0, pad)).view(1, -1, block)
    widest = (values.abs().amax(-1, keepdim=True) / high).clamp_min(TINY)
    best, least = widest, None
    for part in SHRINK:
        scale = widest * part
        codes = (values / scale).round().clamp(-high, high)
        error = ((codes * scale - values).square() * weights).sum(-1, keepdim=True)
        if least is None:
            least = error
            continue
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return Grid(scale=best[..., 0], group=torch.arange(width) // block, low=-high, high=high)


def unbounded_rows(name: str, weight: Any, importance: Any) -> Grid:
    """8 bits with a scale an output channel, neighbours or not."""
    del name
    return symmetric(weight, importance, block=weight.shape[1], high=127)


def signed_blocks(name: str, weight: Any, importance: Any) -> Grid:
    """4 bits in blocks of 32 without zero points."""
    del name
    return symmetric(weight, importance, block=32, high=7)


def table_of(bits: int) -> Round:
    """Return what rounds rows of the embedding table: blocks of 32, scale and zero point searched
    below 8 bits."""

    def rounded(rows: Floats) -> Floats:
        torch = torch_module()
        with torch.inference_mode():
            values, alike = torch.from_numpy(rows), torch.ones(rows.shape[1])
            if bits == 8:
                grid = symmetric(values, alike, block=32, high=127)
            else:
                grid = block_grid(values, alike, block=32, bits=bits)
            made: Floats = grid.values(grid.nearest(values)).numpy()
        return made

    return rounded


ALL, ROWS8, ROWS4 = everywhere(32), fit_rows, fit_blocks(4)
INT8 = (
    Row("inputs: a static scale a tensor", rounds="static"),
    Row("inputs: a scale a row", rounds=round_rows),
    Row("inputs: a scale a row, v/o folded", FOLDED, round_rows),
    Row("inputs: a scale a row, product rotated too", PRODUCT, round_rows),
    Row("inputs: all sites in blocks of 16", everywhere(16), round_rows),
    Row("inputs: all sites in blocks of 32", ALL, round_rows),
    Row("inputs: all sites in blocks of 64", everywhere(64), round_rows),
    Row("inputs: all sites in blocks of 256", everywhere(256), round_rows),
    Row("inputs: large channels moved, not rotated", FOLDED, round_rows, smoothed=True),
    Row("inputs: large channels moved, blocks of 16", everywhere(16), round_rows, smoothed=True),
    Row("inputs: large channels moved, blocks of 32", ALL, round_rows, smoothed=True),
    Row("inputs: large channels moved, blocks of 64", everywhere(64), round_rows, smoothed=True),
    Row("weights: to nearest, not rotated", fit=ROWS8),
    Row("weights: to nearest, all sites in blocks of 32", ALL, fit=ROWS8),
    Row("weights: to nearest, no pair bound", ALL, fit=unbounded_rows),
    Row("int8: to nearest", ALL, round_rows, ROWS8, smoothed=True),
    Row("int8: GPTQ, channels not moved", ALL, round_rows, ROWS8, True),
    Row("int8: GPTQ", ALL, round_rows, ROWS8, True, smoothed=True),
    Row("int8: GPTQ without the pair bound", ALL, round_rows, unbounded_rows, True, smoothed=True),
    Row(
        "int8: GPTQ aimed at the unrounded model",
        ALL,
        round_rows,
        ROWS8,
        True,
        aim="yes",
        smoothed=True,
    ),
    Row(
        "int8: GPTQ on texts of the corpus",
        ALL,
        round_rows,
        ROWS8,
        True,
        texts="in-domain",
        smoothed=True,
    ),
)
Q4 = (
    Row("q4: to nearest, not rotated", fit=ROWS4),
    Row("q4: GPTQ, not rotated", fit=ROWS4, compensated=True),
    Row("q4: GPTQ, v/o folded", FOLDED, fit=ROWS4, compensated=True),
    Row(
        "q4: GPTQ, v/o folded, large channels moved",
        FOLDED,
        fit=ROWS4,
        compensated=True,
        smoothed=True,
    ),
    Row("q4: GPTQ, all sites in blocks of 32", ALL, fit=ROWS4, compensated=True),
    Row("q4: GPTQ, all sites in blocks of 64", everywhere(64), fit=ROWS4, compensated=True),
    Row("q4: GPTQ, all sites in blocks of 256", everywhere(256), fit=ROWS4, compensated=True),
    Row(
        "q4: GPTQ, large channels moved, blocks of 64",
        everywhere(64),
        fit=ROWS4,
        compensated=True,
        smoothed=True,
    ),
    Row("q4: GPTQ without zero points", FOLDED, fit=signed_blocks, compensated=True),
    Row("q4: GPTQ aimed at the unrounded model", FOLDED, fit=ROWS4, compensated=True, aim="yes"),
    Row("q4: GPTQ on texts of the corpus", FOLDED, fit=ROWS4, compensated=True, texts="in-domain"),
    Row("q4: GPTQ and the table at 4 bits", FOLDED, fit=ROWS4, compensated=True, table_bits=4),
    Row("table: 8 bits", table_bits=8),
    Row("table: 6 bits", table_bits=6),
    Row("table: 5 bits", table_bits=5),
    Row("table: 4 bits", table_bits=4),
)
EVERY: Mapping[str, Row] = {row.name: row for row in (*INT8, *Q4)}
