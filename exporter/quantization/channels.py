"""How large each channel of a matrix' input is, and powers of two that level the channels.

Where a runtime rounds an input in blocks with one scale, a channel that is larger than its
neighbours costs them their digits. Unlike SmoothQuant's, the exponents do not look at the weights:
those are rounded with errors that compensate each other, and take what they are given.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import Site
from exporter.checkpoint.contents import Checkpoint
from exporter.quantization.forward import run_backbone
from exporter.quantization.inputs import check_finite
from exporter.quantization.smooth import FARTHEST, Exponents, SmoothedWeights, gathered
from exporter.quantization.weights import ModelWeights

Squares = npt.NDArray[np.float64]

# A channel of rms r is divided by about r to this power. On google/embeddinggemma-300m the error of
# rounded inputs falls with it (all sites at 0.5, blocks of 32: 9.7e-5 to 5.0e-5; of 256:
# 3.3e-4 to 9.3e-5); that of rounded weights does not grow at 0.35, and at 0.5 only where the input
# is attention's output or the MLP's product, by a third and a sixth.
STRENGTH_NORM, STRENGTH_MATRIX = 0.5, 0.35
"""By what makes the site's channels."""

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
    plain = ModelWeights(checkpoint)
    inputs = {site.name for site in plain.sites}
    squares: dict[tuple[int, str], Squares] = {}

    def watch(layer: int, site: str, values: Any) -> None:
        if site in inputs:
            found = values.double().square().sum(dim=0).numpy()
            squares[layer, site] = squares.get((layer, site), 0) + found

    pooled = run_backbone(checkpoint, texts, weights=plain, watch=watch, on_layer=on_layer)
    check_finite(pooled, texts)
    layers = tuple(
        {
            site.name: levelling(gathered(site, squares[i, site.name]), strength=_strength(site))
            for site in plain.sites
        }
        for i in range(plain.architecture.num_layers)
    )
    return SmoothedWeights(checkpoint, layers)


def _strength(site: Site) -> float:
    if not site.takes_factors:
        return 0.0
    return STRENGTH_MATRIX if site.matrix else STRENGTH_NORM


def levelling(squares: Squares, *, strength: float) -> Exponents:
    """Return the exponents of two that bring channels closer to each other.

    squares: (n,), the sum of squares of each; strength: 1 levels them, 0 gives zeros. Returns
    (n,), median 0; 0 for a channel of zeros.
    """
    seen = squares > 0
    exponents = np.zeros(len(squares))
    if seen.any():
        found = -strength / 2 * np.log2(squares[seen])
        exponents[seen] = found - np.median(found)
    return np.clip(np.rint(exponents), -FARTHEST, FARTHEST).astype(np.int64)
