"""What depends on positions alone: masks, and tables of rotary angles."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import Family
from exporter.architectures.rotary import rotary_angles
from exporter.checkpoint.contents import Architecture
from exporter.formats.onnx.graph_writer import BOOL, GraphWriter
from exporter.formats.onnx.plain_attention import mask_by_group

# Finite: a row with every position masked stays finite too. Two masks may be added in float16.
MASKED = {"float32": -1e9, "float16": -30000.0}
ANYWHERE = 1 << 40
"""Farther than any two tokens: the full mask needs its (sequence, sequence) shape too."""


def rotary_tables(
    theta: float, *, head_dim: int, positions: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return cos and sin, each (positions, head_dim / 2) float32."""
    angles = rotary_angles(theta, width=head_dim, positions=positions)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotary_weights(
    w: GraphWriter, family: Family, architecture: Architecture, *, dtype: np.dtype[Any]
) -> dict[str, tuple[str, str]]:
    """Store cos and sin of every position. Returns their names by table."""
    made: dict[str, tuple[str, str]] = {}
    for table, theta in family.rotary(architecture).items():
        width = family.rotary_dim(architecture, table)
        cos, sin = rotary_tables(theta, head_dim=width, positions=architecture.max_positions)
        pair = (("cos", cos.astype(dtype)), ("sin", sin.astype(dtype)))
        cos_name, sin_name = (
            w.weight(f"rotary_{name}_{table}", values, reason="table of rotary angles")
            for name, values in pair
        )
        made[table] = (cos_name, sin_name)
    return made


def attention_biases(
    w: GraphWriter,
    mask: str,
    family: Family,
    architecture: Architecture,
    *,
    dtype: np.dtype[Any],
    groups: Mapping[str, int] | None,
) -> dict[str, str]:
    """Return the additive masks by name, each (batch, 1, sequence, sequence).

    groups: how many queries share a key under each, for masks as `mask_by_group` makes them.
    """
    zero = w.constant(0.0, dtype)
    masked = w.constant(MASKED[dtype.name], dtype)
    shape = w.node("Shape", [mask])
    length = w.node("Gather", [shape, w.constant(1, np.int64)], axis=0)
    positions = w.node("Range", [w.constant(0, np.int64), length, w.constant(1, np.int64)])
    rows = w.node("Unsqueeze", [positions, w.constant([1], np.int64)])
    distance = w.node("Abs", [w.node("Sub", [rows, positions])])
    if family.causal:
        behind = w.node("Greater", [positions, rows])
        never = w.constant(2 * ANYWHERE, np.int64)
        distance = w.node("Where", [behind, never, distance])
    real = w.node("Cast", [mask], to=BOOL)
    keys = w.node("Where", [real, zero, masked])
    keys = w.node("Unsqueeze", [keys, w.constant([1, 2], np.int64)])
    made: dict[str, str] = {}
    for name, reach in family.reach(architecture).items():
        limit = w.constant(ANYWHERE if reach is None else reach, np.int64)
        far = w.node("Greater", [distance, limit])
        bias = w.node("Add", [w.node("Where", [far, masked, zero]), keys])
        made[name] = bias if groups is None else mask_by_group(w, bias, group=groups[name])
    return made
