"""What is measured before quantized weights are written: importances, outliers, the head."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import Checkpoint
from exporter.gguf.names import gguf_name
from exporter.gguf.plan import TABLE, Plan
from exporter.gguf.types import GgufType, pack, unpack
from exporter.manifest import HeadCorrectionRecord
from exporter.progress import Stages, by_layer, silent
from exporter.quantization.activations import measure_int8
from exporter.quantization.head import Choice, correct_head
from exporter.quantization.importance import (
    Importance,
    ImportanceWatch,
    measure_importance,
    pooled_with_rounded_weights,
)
from exporter.quantization.weights import ModelWeights

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """Weights as they are to be stored. `importance` and `dense` by the tensor's full name in the
    checkpoint; `measured` is what goes into the importance matrix' own file."""

    weights: ModelWeights
    importance: Mapping[str, Floats] = field(default_factory=dict)
    dense: Mapping[str, Floats] = field(default_factory=dict)
    measured: Importance | None = None
    head_correction: HeadCorrectionRecord | None = None


def prepare(
    checkpoint: Checkpoint, texts: Sequence[str], *, kind: GgufType, plan: Plan,
    head_correction: Choice, stages: Stages = silent,
) -> Prepared:  # fmt: skip
    """Run the model over `texts` (prompts applied): outlier channels into weights, importances,
    and a head refitted to the rounded weights. Deterministic on one machine.

    llama.cpp rounds the inputs of quantized matrices to 8 bits in blocks, so outlier channels cost
    their neighbours there too. Raises BadInput for activations that are not finite,
    MissingDependency without torch.
    """
    watch = ImportanceWatch()
    layers = layers_of(checkpoint, stages, "gguf: layers measured")
    weights, _, reference = measure_int8(checkpoint, texts, on_layer=layers, watch=watch)
    measured = watch.importance(checkpoint, reference, smoothed=weights)
    importance = by_tensor(checkpoint, measured)
    head = weights.head(dim=checkpoint.dim)
    if head is None or head_correction == "off":
        return Prepared(weights, importance, measured=measured)

    def rounded(name: str, values: Floats) -> Floats:
        stored, _ = plan.storage(kind, gguf_name(name), values.shape)
        return unpack(pack(values, stored, importance=importance.get(name)), stored)

    pooled = pooled_with_rounded_weights(
        weights, texts, matrix=lambda name, values: rounded(name + ".weight", values),
        table=lambda rows: unpack(
            pack(rows, plan.storage(kind, TABLE, rows.shape)[0]),
            plan.storage(kind, TABLE, rows.shape)[0],
        ),
        on_layer=layers_of(checkpoint, stages, "gguf: layers rounded"),
    )  # fmt: skip
    fitted, record = correct_head(head, reference, pooled, choice=head_correction)
    dense = _fold(checkpoint, head, fitted) if record.applied else {}
    return Prepared(weights, importance, dense, measured, record)


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


def _fold(checkpoint: Checkpoint, head: Floats, fitted: Floats) -> dict[str, Floats]:
    """Return the last Dense so that the product of all becomes `fitted`. head: (hidden, dim).

    With one before it (hidden -> wide), its pseudo-inverse gives the change exactly, since its
    columns are independent: (D3 + C pinv(D2)) D2 = D3 D2 + C.
    """
    change = (fitted.astype(np.float64) - head).T
    last = checkpoint.dense[-1].tensor
    before: npt.NDArray[np.float64] | None = None
    for module in checkpoint.dense[:-1]:
        weight = checkpoint.tensor(module.tensor).astype(np.float64)
        before = weight if before is None else weight @ before
    moved = change if before is None else change @ np.linalg.pinv(before)
    return {last: (checkpoint.tensor(last) + moved).astype(np.float32)}
