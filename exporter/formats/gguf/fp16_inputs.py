"""Whether fp16 holds what fp16 matrices are multiplied with."""

import importlib.util
from pathlib import Path

from exporter.checkpoint.contents import Checkpoint
from exporter.corpus.calibration import calibration_inputs, read_calibration
from exporter.errors import BadInput
from exporter.formats.gguf.prepare import layers_of
from exporter.progress import Stages, silent

FP16_LARGEST = 65504.0
FP16_TEXTS = 8
"""How many bundled texts are run: the check shall not take longer than the export."""


def check_fp16_inputs(
    checkpoint: Checkpoint, calibration: Path | None, *, stages: Stages = silent
) -> str:
    """Refuse weights in fp16 whose inputs overflow it: ggml rounds them to the weights' type.

    Returns what the manifest says of it. Raises BadInput naming the worst matrix.
    """
    if importlib.util.find_spec("torch") is None:
        return "activations were not measured against fp16: torch is not installed"
    from exporter.quantization.importance import measure_importance
    from exporter.quantization.weights import ModelWeights

    texts = read_calibration(calibration)
    if calibration is None:
        texts = texts[:: max(1, len(texts) // FP16_TEXTS)]
    inputs = calibration_inputs(texts, checkpoint.prompts)
    layers = layers_of(checkpoint, stages, "f16: layers measured")
    measured, _ = measure_importance(ModelWeights(checkpoint), inputs, on_layer=layers)
    name, largest = max(measured.largest.items(), key=lambda pair: pair[1])
    if largest > FP16_LARGEST:
        raise BadInput(
            f"the input of '{name}' reaches {largest:,.0f} on calibration text; llama.cpp rounds "
            "it to fp16, which ends at 65,504; export --type bf16, q8_0 or f32"
        )
    return (
        f"fp16 holds every matrix' input: at most {largest:.4g} of 65,504, at '{name}', on "
        f"{len(inputs)} calibration texts"
    )
