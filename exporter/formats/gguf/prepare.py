"""What is measured before quantized weights are written: codes that compensate, or importances."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Checkpoint
from exporter.formats.gguf.compensated import compensated_bytes
from exporter.formats.gguf.plan import Plan
from exporter.formats.gguf.types import GgufType
from exporter.progress import Stages, by_layer, silent
from exporter.quantization.channels import smoothed_weights
from exporter.quantization.importance import Importance, measure_importance
from exporter.quantization.rotate import RotatedWeights
from exporter.quantization.weights import ModelWeights

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """Weights as they are to be stored. `importance`, and `packed` for matrices that are rounded
    already, by the tensor's full name in the checkpoint; `measured` is what goes into the
    importance matrix' own file."""

    weights: ModelWeights
    importance: Mapping[str, Floats] = field(default_factory=dict)
    packed: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    measured: Importance | None = None


def turned_weights(
    checkpoint: Checkpoint, texts: Sequence[str], *, stages: Stages = silent
) -> RotatedWeights:
    """Return the weights after large channels of their inputs were moved into them. texts: prompts
    applied.

    llama.cpp rounds the inputs of quantized matrices to 8 bits in blocks, so a large channel costs
    its neighbours.
    """
    layers = layers_of(checkpoint, stages, "gguf: layers measured")
    return RotatedWeights(smoothed_weights(checkpoint, texts, on_layer=layers), {})


def compensated(
    weights: RotatedWeights,
    texts: Sequence[str],
    *,
    gguf_type: GgufType,
    plan: Plan,
    stages: Stages = silent,
) -> Prepared:
    """Return the backbone's matrices rounded by GPTQ. weights: of `turned_weights`, with the same
    texts. Errors as in `exporter.formats.gguf.compensated.compensated_bytes`."""
    packed = compensated_bytes(weights, texts, gguf_type=gguf_type, plan=plan, stages=stages)
    return Prepared(weights, packed=packed)


def importances(
    checkpoint: Checkpoint, texts: Sequence[str], *, stages: Stages = silent
) -> Prepared:
    """Return the weights as saved, and the importances alone. texts: prompts applied."""
    weights = ModelWeights(checkpoint)
    measured, _ = measure_importance(
        weights, texts, on_layer=layers_of(checkpoint, stages, "gguf: layers measured")
    )
    return Prepared(weights, by_tensor(checkpoint, measured), measured=measured)


def layers_of(checkpoint: Checkpoint, stages: Stages, label: str) -> Callable[[int], None]:
    """Begin a stage that counts layers. Returns what to call after each."""
    assert checkpoint.architecture is not None
    return by_layer(stages(label, checkpoint.architecture.num_layers))


def by_tensor(checkpoint: Checkpoint, measured: Importance) -> dict[str, Floats]:
    """Return the mean square of each matrix' input channels by the tensor's full name."""
    found = {}
    for name in checkpoint.tensors:
        square = measured.mean_square(name.removesuffix(".weight"))
        square = measured.mean_square(name) if square is None else square
        if square is not None:
            found[name] = square
    return found
