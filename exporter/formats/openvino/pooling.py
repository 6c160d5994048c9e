"""From token states to one vector a text."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def _mean(states: Any, mask: Any) -> Any:
    """Return the mean over real tokens: a product for each text, whose sum does not depend on the
    size of the batch. states: (batch, sequence, dim); mask: (batch, sequence)."""
    from openvino import opset15 as ops

    weight = ops.convert(mask, "f32")
    total = ops.matmul(ops.unsqueeze(weight, _numbers([1])), states, False, False)
    total = ops.squeeze(total, _numbers([1]))
    count = ops.reduce_sum(weight, _numbers([-1]), keep_dims=True)
    return ops.divide(total, ops.maximum(count, _numbers(1.0, np.float32)))


def _first(states: Any, mask: Any) -> Any:
    """Return the first token's states."""
    from openvino import opset15 as ops

    del mask
    return ops.gather(states, _numbers(0), _numbers(1))


POOLINGS: Mapping[str, Callable[[Any, Any], Any]] = {"mean": _mean, "cls": _first}
"""(states, mask) to (batch, dim), by the checkpoint's pooling."""


def _numbers(values: npt.ArrayLike, dtype: Any = np.int64) -> Any:
    from openvino import opset15 as ops

    return ops.constant(np.asarray(values, dtype))
