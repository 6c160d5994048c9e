"""What depends on positions alone: masks, which token counts, rows of places, rotary angles."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import Family
from exporter.architectures.rotary import rotary_angles
from exporter.architectures.steps import Place
from exporter.checkpoint.contents import Architecture

MASKED = -1e9  # finite: a row with every position masked stays finite
ANYWHERE = 1 << 22
"""Farther than any two tokens: the full mask needs its (sequence, sequence) shape too. The CPU
plugin compares whole numbers as float32, which holds this one and its double exactly."""


MOST = float(1 << 22)
"""More than any text's tokens; float32 counts down from it exactly."""


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


def place_rows(step: Place, rows: Any, ids: Any, mask: Any) -> Any:
    """Return each token's row of a table, (sequence, hidden) where all texts share places, else
    (batch, sequence, hidden). rows: (places, hidden)."""
    from openvino import opset15 as ops

    if step.unplaced is None:
        return ops.gather(rows, _positions(mask), _number(0))
    # Counted in the mask too: padding of any id, on either side, moves no token.
    unplaced = _number(step.unplaced)
    real = ops.convert(ops.not_equal(ids, unplaced), "i64")
    counted = ops.multiply(real, mask)
    count = ops.cum_sum(counted, _number(1))
    places = ops.add(ops.multiply(count, counted), unplaced)
    return ops.gather(rows, places, _number(0))


def token_weights(mask: Any, pooling: str) -> Any:
    """Return what each token weighs, (batch, sequence) float32: see `quantization.pooling`."""
    from openvino import opset15 as ops

    real = ops.convert(mask, "f32")
    if pooling == "mean":
        return real
    places = ops.convert(_positions(mask), "f32")
    if pooling == "cls":  # from the highest down: the first real token has the largest
        places = ops.subtract(_number(MOST, np.float32), places)
    else:
        assert pooling == "lasttoken", pooling
        places = ops.add(places, _number(1.0, np.float32))
    placed = ops.multiply(real, places)
    picked = ops.reduce_max(placed, _number([-1]), keep_dims=True)
    return ops.multiply(ops.convert(ops.equal(placed, picked), "f32"), real)


def rotary_tables(
    mask: Any, family: Family, architecture: Architecture, *, store: Store
) -> dict[str, tuple[Any, Any]]:
    """Return cos and sin by table, each (1, 1, sequence, head_dim) float32."""
    from openvino import opset15 as ops

    a = architecture
    positions = _positions(mask)
    made: dict[str, tuple[Any, Any]] = {}
    for kind, theta in family.rotary(a).items():
        width = family.rotary_dim(a, kind)
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
