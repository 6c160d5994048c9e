"""The values that a matrix may take in each of ggml's block formats, chosen before it is rounded.

A weight is `scale * code - offset`, scale and offset one a group of 16 or 32 columns. In the
formats of 256 columns they are themselves products of an fp16 number a block and a small integer a
group. Formats: ggml/src/ggml-common.h in https://github.com/ggml-org/ggml.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import gguf
import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput
from exporter.formats.gguf.grid_blocks import CodeBounds, fit_levels
from exporter.formats.gguf.grid_search import fit_affine, fit_symmetric, halfways, inverse
from exporter.formats.gguf.types import QTYPE

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Integers = npt.NDArray[np.int16]

CODEBOOK = gguf.quants.IQ4_NL.kvalues
AT_A_TIME = 1 << 19  # weights whose grids are searched together: they stay in the cache
FLOOR = 0.01  # of the mean importance: no column is worth nothing


@dataclass(frozen=True)
class Layout:
    """What a format can say. group: columns that share a scale; codes from `low` to `high`, or
    places in `codebook`; `offsets`: whether groups have one; groups of a block, whose integer
    scales lie from `sub_low` to `sub_high` (1 group: its scale is fp16 itself)."""

    group: int
    low: int
    high: int
    offsets: bool = False
    groups: int = 1
    sub_low: int = 1
    sub_high: int = 1
    codebook: tuple[int, ...] | None = None


LAYOUTS = {
    # -128 would do for the products, but ggml itself never writes it.
    QTYPE.Q8_0: Layout(32, -127, 127),
    QTYPE.Q4_0: Layout(32, -8, 7),
    QTYPE.Q5_0: Layout(32, -16, 15),
    QTYPE.IQ4_NL: Layout(32, 0, 15, codebook=CODEBOOK),
    QTYPE.Q4_1: Layout(32, 0, 15, offsets=True),
    QTYPE.Q5_1: Layout(32, 0, 31, offsets=True),
    QTYPE.Q4_K: Layout(32, 0, 15, offsets=True, groups=8, sub_low=0, sub_high=63),
    QTYPE.Q5_K: Layout(32, 0, 31, offsets=True, groups=8, sub_low=0, sub_high=63),
    QTYPE.Q6_K: Layout(16, -32, 31, groups=16, sub_low=-128, sub_high=127),
}


@dataclass(frozen=True)
class BlockGrid:
    """The grid of a matrix in `ggml_type`. d, dmin: (rows, blocks), what blocks hold in fp16; sub,
    sub_min: (rows, groups), their integers. Where a format has no such field, dmin is zero and the
    integers are one."""

    ggml_type: gguf.GGMLQuantizationType
    d: Halves
    dmin: Halves
    sub: Integers
    sub_min: Integers

    @property
    def layout(self) -> Layout:
        """Return what the format can say."""
        return LAYOUTS[self.ggml_type]

    @property
    def scale(self) -> Floats:
        """Return the scale of each group, (rows, groups) float32, as a runtime multiplies it."""
        return _by_group(self.d, self.layout) * self.sub.astype(np.float32)

    @property
    def offset(self) -> Floats:
        """Return what is taken off each group's products, (rows, groups) float32."""
        return _by_group(self.dmin, self.layout) * self.sub_min.astype(np.float32)

    def values(self, codes: npt.NDArray[np.integer]) -> Floats:
        """Return the weights that `codes` stand for. codes: (rows, columns)."""
        layout = self.layout
        steps = codes.astype(np.float32)
        if layout.codebook is not None:
            steps = np.array(layout.codebook, np.float32)[codes]
        grouped = steps.reshape(*self.sub.shape, layout.group)
        found: Floats = grouped * self.scale[..., None] - self.offset[..., None]
        return found.reshape(codes.shape)

    def nearest(self, values: Floats) -> Integers:
        """Return the codes of the nearest values that the grid has. values: (rows, columns)."""
        layout = self.layout
        grouped = values.reshape(*self.sub.shape, layout.group)
        with np.errstate(over="ignore"):  # of a scale that is almost zero: clipped
            steps = (grouped + self.offset[..., None]) * inverse(self.scale)[..., None]
        if layout.codebook is not None:
            places = np.searchsorted(halfways(layout.codebook), steps)
        else:
            places = np.clip(np.rint(steps), layout.low, layout.high)
        codes: Integers = places.astype(np.int16).reshape(values.shape)
        return codes


def fit_grid(
    values: Floats, ggml_type: gguf.GGMLQuantizationType, *, importance: Floats | None = None
) -> BlockGrid:
    """Return the grid that rounds `values` with the least squared error, as far as searched.

    values: (rows, columns) float32, finite, whole blocks of `ggml_type`; importance: (columns,),
    the weight of each column's error, as the diagonal of the Hessian. Raises BadInput where a scale
    does not fit into fp16, KeyError for a type without a grid.
    """
    layout = LAYOUTS[ggml_type]
    rows, width = values.shape
    weight = np.ones(width, np.float32) if importance is None else _floored(importance)
    groups = weight.reshape(-1, layout.group)
    parts = [
        _fit(part.reshape(len(part), -1, layout.group), groups, layout, ggml_type)
        for part in _in_parts(values)
    ]
    if not parts:
        raise BadInput(f"a matrix of {rows} rows has no grid; re-save the checkpoint")
    grid = replace(
        parts[0],
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("d", "dmin", "sub", "sub_min")
        },
    )
    if not (np.isfinite(grid.d).all() and np.isfinite(grid.dmin).all()):
        raise BadInput(
            f"weights up to {float(np.abs(values).max()):.3g} do not fit the fp16 scales of "
            f"{ggml_type.name}; export --type f32 or bf16"
        )
    return grid


def _fit(
    grouped: Floats, weight: Floats, layout: Layout, ggml_type: gguf.GGMLQuantizationType
) -> BlockGrid:
    """Return the grid of some rows. grouped: (rows, groups, group); weight: (groups, group)."""
    one = np.ones(grouped.shape[:2], np.int16)
    if layout.offsets:
        scale, offset = fit_affine(grouped, weight, top=layout.high, signed=layout.groups == 1)
    else:
        scale = fit_symmetric(
            grouped, weight, low=layout.low, high=layout.high, codebook=layout.codebook
        )
        offset = np.zeros_like(scale)
    if layout.groups == 1:
        with np.errstate(over="ignore"):  # refused by name in `fit_grid`
            return BlockGrid(
                ggml_type, scale.astype(np.float16), offset.astype(np.float16), one, one
            )
    bounds = CodeBounds(layout.low, layout.high, layout.groups, layout.sub_low, layout.sub_high)
    found = fit_levels(grouped, weight, scale, offset, bounds=bounds)
    with np.errstate(over="ignore", invalid="ignore"):
        return BlockGrid(
            ggml_type,
            found.d.astype(np.float16),
            found.dmin.astype(np.float16),
            found.sub.astype(np.int16),
            found.sub_min.astype(np.int16),
        )


def _by_group(halves: Halves, layout: Layout) -> Floats:
    return halves.astype(np.float32).repeat(layout.groups, axis=1)


def _floored(importance: Floats) -> Floats:
    mean = float(importance.mean(dtype=np.float64))
    if not mean > 0:
        return np.ones_like(importance, dtype=np.float32)
    return (importance / mean + FLOOR).astype(np.float32)


def _in_parts(values: Floats) -> Iterator[Floats]:
    step = max(1, AT_A_TIME // values.shape[1])
    for start in range(0, len(values), step):
        yield np.ascontiguousarray(values[start : start + step], np.float32)
