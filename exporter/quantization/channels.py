"""How large each channel of a matrix' input is, and powers of two that level the channels.

Where a runtime rounds an input in blocks with one scale, a channel that is larger than its
neighbours costs them their digits. Unlike SmoothQuant's, the exponents do not look at the weights:
those are rounded with errors that compensate each other, and take what they are given.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import Checkpoint
from exporter.quantization.forward import INPUTS, run_backbone
from exporter.quantization.inputs import check_finite
from exporter.quantization.smooth import FARTHEST, Exponents, LayerSmoothing, SmoothedWeights
from exporter.quantization.weights import ModelWeights

Squares = npt.NDArray[np.float64]

# A channel of rms r is divided by about r to this power. On google/embeddinggemma-300m the error of
# rounded inputs falls with it (all sites at 0.5, blocks of 32: 9.7e-5 to 5.0e-5; of 256:
# 3.3e-4 to 9.3e-5); that of rounded weights does not grow at 0.35, and at 0.5 only where the input
# is attention's output or the MLP's product, by a third and a sixth.
STRENGTH = {"attention_in": 0.5, "attended": 0.35, "mlp_in": 0.5, "product": 0.35}

MEASURED_TEXTS = 64


def smoothed_weights(
    checkpoint: Checkpoint, texts: Sequence[str], *, on_layer: Callable[[int], None] | None = None
) -> SmoothedWeights:
    """Return the weights with large channels of matrices' inputs moved into them, exactly.

    texts: prompts applied; the model is run over about 64 of them in float32, since how large a
    channel is varies little. Raises BadInput for activations that are not finite, MissingDependency
    without torch.
    """
    texts = texts[:: max(1, len(texts) // MEASURED_TEXTS)]
    squares: dict[tuple[int, str], Squares] = {}

    def watch(layer: int, site: str, values: Any) -> None:
        if site in INPUTS:
            found = values.double().square().sum(dim=0).numpy()
            squares[layer, site] = squares.get((layer, site), 0) + found

    pooled = run_backbone(
        checkpoint, texts, weights=ModelWeights(checkpoint), watch=watch, on_layer=on_layer
    )
    check_finite(pooled, texts)
    a = checkpoint.architecture
    assert a is not None
    layers = []

    def level(site: str, found: Squares) -> Exponents:
        return levelling(found, strength=STRENGTH[site])

    for i in range(a.num_layers):
        # Query heads of a group share the channels of one value head.
        heads = squares[i, "attended"].reshape(a.num_kv_heads, -1, a.head_dim)
        layers.append(
            LayerSmoothing(
                attention_in=level("attention_in", squares[i, "attention_in"]),
                value=level("attended", heads.sum(axis=1).ravel()),
                mlp_in=level("mlp_in", squares[i, "mlp_in"]),
                up=level("product", squares[i, "product"]),
            )
        )
    return SmoothedWeights(checkpoint, tuple(layers))


def levelling(squares: Squares, *, strength: float) -> Exponents:
    """Return the exponents of two that bring channels closer to each other.

    squares: (n,), the sum of squares of each; strength: 1 levels them. Returns (n,), median 0; 0
    for a channel of zeros.
    """
    seen = squares > 0
    exponents = np.zeros(len(squares))
    if seen.any():
        found = -strength / 2 * np.log2(squares[seen])
        exponents[seen] = found - np.median(found)
    return np.clip(np.rint(exponents), -FARTHEST, FARTHEST).astype(np.int64)
