"""Export to OpenVINO IR: model.xml and model.bin, float32 or int8."""

from collections.abc import Mapping
from pathlib import Path

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.tokenizer import TOKENIZER_FILES
from exporter.checkpoint.vocabulary import copy_beside
from exporter.corpus.calibration import calibration_inputs, calibration_sha256, read_calibration
from exporter.errors import BadInput
from exporter.formats.openvino.format import FORMAT
from exporter.formats.openvino.graph import Graph
from exporter.formats.openvino.library import openvino_module
from exporter.manifest import Built, Manifest, write_manifest
from exporter.progress import Stages, next_stage, silent
from exporter.quantization.functions import torch_module
from exporter.quantization.int8 import quantize_int8
from exporter.quantization.weights import ModelWeights
from exporter.staging import check_free_disk, check_output, staged_folder

BYTES_PER_WEIGHT: Mapping[str, float] = {"fp32": 4.0, "int8": 1.05}
"""For the check of free disk."""
ENTRY = "model.xml"
BESIDE = ("config.json", *TOKENIZER_FILES)
KEPT = (
    "norms, biases and tables of positions stay float32: few bytes, applied to float32",
    "attention, activation functions and normalisation compute in float32",
    "the head (all Dense as one matrix, if any) stays float32: its rounding alone would weigh as "
    "much as that of all others together, and it is under 1 % of the bytes",
)


def export_openvino(
    checkpoint: Checkpoint,
    output: Path,
    *,
    scheme: str = FORMAT.default_scheme,
    dim: int | None = None,
    calibration: Path | None = None,
    keep: Path | None = None,
    force: bool = False,
    stages: Stages = silent,
) -> Manifest:
    """Write the artifact to `output` and return its manifest. Same input, same bytes.

    `scheme`: fp32 or int8; int8 has the matrices, the rotations and the table of ONNX int8. The
    rest as `exporter.formats.onnx.export.export_onnx`.
    Raises BadInput or MissingDependency before the first long step.
    """
    openvino = openvino_module()
    scheme = FORMAT.scheme(scheme)
    if checkpoint.architecture is None:
        raise BadInput(
            f"'{checkpoint.path}' has no OpenVINO graph here ({checkpoint.not_built}); "
            "export it with lawvault export onnx --graph traced, which OpenVINO reads"
        )
    width = checkpoint.dim if dim is None else dim
    if width not in checkpoint.matryoshka_dims:
        known = ", ".join(map(str, checkpoint.matryoshka_dims))
        raise BadInput(f"--dim {width} is not one that the model was trained for (known: {known})")
    texts = None
    if scheme == "int8":
        torch_module()
        texts = read_calibration(calibration)
    elif calibration is not None:
        raise BadInput("--quant fp32 measures nothing; leave --calibration out")
    check_output(output, force=force)
    check_free_disk(
        output, int(checkpoint.stored_parameters * BYTES_PER_WEIGHT[scheme] * 1.1) + (1 << 20)
    )
    with staged_folder(output, force=force) as stage:
        int8, count = None, checkpoint.architecture.num_layers
        if texts is not None:
            int8 = quantize_int8(
                checkpoint,
                calibration_inputs(texts, checkpoint.prompts),
                keep=keep,
                on_measured=next_stage(stages, "int8: layers measured", count),
                on_layer=next_stage(stages, "int8: layers rounded", count),
            )
        weights = ModelWeights(checkpoint) if int8 is None else int8.weights
        written = stages(f"{output.name}: weights", checkpoint.stored_parameters)
        graph = Graph(weights, int8=int8, on_written=written)
        # Without this, save_model stores weights as float16.
        openvino.save_model(graph.model(dim=width), stage / ENTRY, compress_to_fp16=False)
        copy_beside(BESIDE, checkpoint, stage)
        return write_manifest(
            stage,
            checkpoint,
            Built(
                format="openvino",
                scheme=scheme,
                entry=ENTRY,
                tensors=tuple(graph.records),
                dim=width,
                libraries=("openvino", "numpy", *(("torch",) if texts is not None else ())),
                kept=KEPT if texts is not None else (),
                calibration_sha256=None if texts is None else calibration_sha256(texts),
            ),
        )
