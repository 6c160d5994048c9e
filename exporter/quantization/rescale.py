"""Powers of two folded into the weights so that fp16 can hold every intermediate. Exact.

RMSNorm does not care about the scale of its input, but for its eps: where the input is multiplied
by f, eps times f^2 gives the same output to the bit (barring denormals). A family whose
intermediates all end in a norm, or in the residual stream that norms alone read, says in its
`Fp16Plan` which. Nothing but powers of two is
multiplied, so no bit of a weight is lost.
"""

import math

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import Fp16Plan, layer_name
from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput
from exporter.quantization.measured import LayerRanges, Rescaling
from exporter.quantization.weights import ModelWeights

# A runtime that squares in fp16 overflows from a row length of 256 on; half of that is kept free
# for texts that calibration has not seen.
LENGTH_TARGET = 127.5
# Where nothing is squared, 64 times below the largest fp16.
INNER_TARGET = 1024.0
# The largest weight of a rescaled matrix stays here: far from both ends of fp16.
WEIGHT_SMALLEST, WEIGHT_LARGEST = 2.0**-5, 2.0**5
SMALLEST_EPSILON = 1.2e-38  # the least normal float32: below it a runtime may flush to zero


def choose_rescaling(checkpoint: Checkpoint, ranges: tuple[LayerRanges, ...]) -> Rescaling:
    """Return the exponents that bring measured ranges into fp16. `ranges`: one a layer.

    Raises BadInput where no power of two can: an eps that would underflow even in float32.
    """
    plain = ModelWeights(checkpoint)
    plan = fp16_plan(plain)
    residual = 0
    if plan.scales_stream:
        residual = _exponent(LENGTH_TARGET, max(r.length["residual"].largest for r in ranges))
    layers = []
    for i, r in enumerate(ranges):
        scale = {
            head.name: min(0, _exponent(LENGTH_TARGET, r.length[head.name].largest))
            for head in plan.head_norms
        }
        for chain in plan.chains:
            total = residual
            if chain.norm:
                total = _exponent(LENGTH_TARGET, r.length[chain.output].largest)
            first, second = _split(
                total,
                inner=max(r.largest[site] for site in chain.inner),
                weight=float(np.abs(plain.matrix(layer_name(i, chain.second))).max()),
            )
            if not chain.norm:
                second = residual - first
            scale |= dict(zip(chain.names, (first, second), strict=True))
        layers.append(scale)
    chosen = Rescaling(plan=plan, residual=residual, layers=tuple(layers))
    smallest = min((chosen.norm_exponent(name), name) for name in plain.norm_names)
    epsilon = plain.epsilon(smallest[1]) * 2.0 ** (2 * smallest[0])
    if epsilon < SMALLEST_EPSILON:
        raise BadInput(
            f"'{smallest[1]}' normalises rows so long that its eps would have to be {epsilon:.1e} "
            "for fp16, below float32's smallest; export with --quant fp32"
        )
    return chosen


def fp16_plan(weights: ModelWeights) -> Fp16Plan:
    """Return where powers of two may be moved. Raises BadInput for a family without such places."""
    plan = weights.family.fp16
    if plan is None:
        raise BadInput(
            f"no float16 for models of type '{weights.architecture.model_type}': nothing in their "
            "layers takes up a factor; export with --quant fp32"
        )
    return plan


class RescaledWeights(ModelWeights):
    """The weights multiplied by powers of two, and every norm's eps to match."""

    def __init__(self, checkpoint: Checkpoint, rescaling: Rescaling) -> None:
        super().__init__(checkpoint)
        self.rescaling = rescaling

    @property
    def embed_scale(self) -> float:
        return super().embed_scale * 2.0**self.rescaling.residual

    def matrix(self, name: str) -> npt.NDArray[np.float32]:
        return super().matrix(name) * np.float32(2.0 ** self.rescaling.matrix_exponent(name))

    def bias(self, name: str) -> npt.NDArray[np.float32]:
        return super().bias(name) * np.float32(2.0 ** self.rescaling.bias_exponent(name))

    def gain(self, name: str) -> npt.NDArray[np.float32]:
        return super().gain(name) * np.float32(2.0 ** self.rescaling.gain_exponent(name))

    def epsilon(self, name: str) -> float:
        return super().epsilon(name) * 2.0 ** (2 * self.rescaling.norm_exponent(name))


def _exponent(target: float, found: float) -> int:
    """Return the largest e with found * 2^e <= target; 0 where nothing was found."""
    return math.floor(math.log2(target / found)) if found > 0 else 0


def _split(total: int, *, inner: float, weight: float) -> tuple[int, int]:
    """Split `total` between the rows before a matrix and the matrix.

    The rows stay below INNER_TARGET, the matrix' largest weight between its bounds; what does not
    fit makes the result smaller, never larger.
    """
    most = _exponent(INNER_TARGET, inner)
    low, high = _exponent(WEIGHT_SMALLEST, weight), _exponent(WEIGHT_LARGEST, weight)
    outer = min(max(total - min(0, most), low), high)
    return min(most, total - outer), outer
