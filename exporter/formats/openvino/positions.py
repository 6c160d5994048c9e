"""What depends on positions alone: masks by distance, which token counts, and rotary angles."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import Family
from exporter.architectures.rotary import rotary_angles
from exporter.checkpoint.contents import Architecture

MASKED = -1e9  # finite: a row with every position masked stays finite
ANYWHERE = 1 << 22
"""Farther than any two tokens: the full mask needs its (sequence, sequence) shape too. The CPU
plugin compares whole numbers as float32, which holds this one and its double exactly."""


class Store(Protocol):
    """Stores a named constant and returns its node."""

    def __call__(self, name: str, values: npt.NDArray[Any], *, reason: str = "") -> Any: ...


def attention_biases(mask: Any, family: Family, architecture: Architecture) -> dict[str, Any]:
    """Return the additive masks by name, each (batch, 1, sequence, sequence) float32."""
    from openvino import opset15 as ops

    zero, masked = _number(0.0, np.float32), _number(MASKED, np.float32)
    positions = _positions(mask)
    rows = ops.unsqueeze(positions, _number([1]))
    distance = ops.abs(ops.subtract(rows, positions))
    if family.causal:
        distance = ops.select(ops.greater(positions, rows), _number(2 * ANYWHERE), distance)
    real = ops.greater(mask, _number(0))
    keys = ops.unsqueeze(ops.select(real, zero, masked), _number([1, 2]))
    made: dict[str, Any] = {}
    for name, reach in family.reach(architecture).items():
        far = ops.greater(distance, _number(ANYWHERE if reach is None else reach))
        made[name] = ops.add(ops.select(far, masked, zero), keys)
    return made


def token_weights(mask: Any, pooling: str) -> Any:
    """Return what each token weighs, (batch, sequence) float32: see `quantization.pooling`."""
    from openvino import opset15 as ops

    real = ops.convert(mask, "f32")
    if pooling == "mean":
        return real
    places = ops.add(ops.convert(_positions(mask), "f32"), _number(1.0, np.float32))
    placed = ops.multiply(real, places)
    last = ops.reduce_max(placed, _number([-1]), keep_dims=True)
    return ops.multiply(ops.convert(ops.equal(placed, last), "f32"), real)


def rotary_tables(
    mask: Any, family: Family, architecture: Architecture, *, store: Store
) -> dict[str, tuple[Any, Any]]:
    """Return cos and sin by table, each (1, 1, sequence, head_dim) float32."""
    from openvino import opset15 as ops

    a, width = architecture, family.rotary_dim(architecture)
    positions = _positions(mask)
    made: dict[str, tuple[Any, Any]] = {}
    for kind, theta in family.rotary(a).items():
        half = rotary_angles(theta, width=width, positions=a.max_positions)
        angles = np.concatenate([half, half], axis=1)
        cos, sin = (
            ops.unsqueeze(
                ops.gather(
                    store(
                        f"rotary_{name}_{kind}",
                        values.astype(np.float32),
                        reason="table of rotary angles",
                    ),
                    positions,
                    _number(0),
                ),
                _number([0, 1]),
            )
            for name, values in (("cos", np.cos(angles)), ("sin", np.sin(angles)))
        )
        made[kind] = (cos, sin)
    return made


def _positions(mask: Any) -> Any:
    """Return 0, 1, ... as many as the texts are wide, (sequence,) int64."""
    from openvino import opset15 as ops

    length = ops.gather(ops.shape_of(mask, "i64"), _number(1), _number(0))
    return ops.range(_number(0), length, _number(1), "i64")


def _number(values: Any, dtype: Any = np.int64) -> Any:
    from openvino import opset15 as ops

    return ops.constant(np.asarray(values, dtype))
