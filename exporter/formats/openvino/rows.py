"""8 bits in OpenVINO: inputs of matrices rotated and rounded, each row by its largest magnitude.

A row divided by its largest magnitude lies within [-1, 1], so that one FakeQuantize with a constant
range serves every row; the CPU plugin turns it and an int8 constant into a whole-number product.
Its own rounding at run time (`DYNAMIC_QUANTIZATION_GROUP_SIZE`, weights left compressed) was
measured against it on the real EmbeddingGemma, OpenVINO 2026.4, an AMD EPYC with AVX512-VNNI: on
the same rotated inputs, groups of 128 have half of the inputs' error, but a sixth less throughput,
and do nothing where inputs are bfloat16.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter.quantization.int8 import Int8Matrix
from exporter.quantization.rotate import hadamard
from exporter.quantization.rounding import SMALLEST_ROW, STEP

LEVELS = 256


@dataclass(frozen=True)
class TokenRows:
    """What matrices are multiplied with, (batch, sequence, width). Their products have still to be
    multiplied by `factor`, (batch, sequence, 1); None for nothing."""

    values: Any
    factor: Any = None


def rounded_rows(x: Any, *, block: int) -> TokenRows:
    """Rotate runs of `block` of `x`, 1 for none, and round each row. x: (batch, sequence, width).

    A row's result depends on that row alone.
    """
    from openvino import opset15 as ops

    turned = _rotated(x, block=block)
    largest = ops.reduce_max(ops.abs(turned), _number([-1]), keep_dims=True)
    # A row of zeros is divided by this.
    largest = ops.maximum(largest, _number(SMALLEST_ROW, np.float32))
    # The plugin computes x / y as this product of two roundings; spelled out, the emulation's.
    scaled = ops.multiply(turned, ops.divide(_number(1.0, np.float32), largest))
    low, high = (_number(code * STEP, np.float32) for code in (-128, 127))
    return TokenRows(ops.fake_quantize(scaled, low, high, low, high, LEVELS), largest)


def product(x: TokenRows, codes: Any, scales: Any) -> Any:
    """Return `x` times a matrix, short of `x.factor`. codes: (out, in) int8, scales: (out, 1)."""
    from openvino import opset15 as ops

    wide = ops.multiply(ops.convert(codes, "f32"), scales)
    return ops.matmul(x.values, wide, False, True)


def whole(values: Any, *inputs: TokenRows) -> Any:
    """Return a product multiplied by what the rows of `inputs` were divided by."""
    from openvino import opset15 as ops

    factors = [entered.factor for entered in inputs if entered.factor is not None]
    if not factors:
        return values
    factor = factors[0]
    for other in factors[1:]:  # of a row each: few numbers
        factor = ops.multiply(factor, other)
    return ops.multiply(values, factor)


def bits_per_weight(matrix: Int8Matrix) -> float:
    """Return the bits of a weight, its share of the scales included."""
    return 8 + 32 / int(matrix.codes.shape[1])


def _rotated(x: Any, *, block: int) -> Any:
    from openvino import opset15 as ops

    if block == 1:
        return x
    width = x.get_output_partial_shape(0)[2].get_length()
    runs = ops.reshape(x, _number([0, 0, width // block, block]), special_zero=True)
    # Symmetric: transposed or not, the same. The plugin wants a matrix as (out, in).
    turned = ops.matmul(runs, _number(hadamard(block), np.float32), False, True)
    return ops.reshape(turned, _number([0, 0, width]), special_zero=True)


def _number(values: Any, dtype: Any = np.int64) -> Any:
    from openvino import opset15 as ops

    return ops.constant(np.asarray(values, dtype))
