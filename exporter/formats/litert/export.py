"""Export to LiteRT: model.tflite, float32 or int8."""

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from exporter.architectures.family import TABLE, family_of
from exporter.architectures.steps import Place
from exporter.checkpoint.contents import Architecture, Checkpoint
from exporter.checkpoint.tokenizer import TOKENIZER_FILES
from exporter.checkpoint.vocabulary import copy_beside
from exporter.corpus.calibration import calibration_inputs, calibration_sha256, read_calibration
from exporter.errors import BadInput, require
from exporter.formats.litert.format import FORMAT
from exporter.formats.litert.model import litert_module
from exporter.formats.litert.quantize import quantize_file
from exporter.formats.litert.runtime import SIGNATURE
from exporter.manifest import Built, Manifest, TensorRecord, write_manifest
from exporter.progress import Stages, next_stage, silent
from exporter.quantization.channels import smoothed_weights
from exporter.quantization.functions import torch_module
from exporter.quantization.rotate import RotatedWeights, usual_blocks
from exporter.quantization.weights import ModelWeights
from exporter.quiet import stderr_dropped
from exporter.staging import check_free_disk, check_output, staged_folder

ENTRY = "model.tflite"
BESIDE = ("config.json", *TOKENIZER_FILES)
USUAL_LENGTHS = (64, 256, 1024)
LONGEST = 8192
KEPT = (
    "norms, biases and tables of positions stay float32: few bytes, applied to float32",
    "attention, activation functions, normalisation and the rotations of inputs compute in float32",
    "the head (all Dense as one matrix, if any) stays float32: its errors are the vector's",
)


def export_litert(
    checkpoint: Checkpoint,
    output: Path,
    *,
    scheme: str = FORMAT.default_scheme,
    dim: int | None = None,
    lengths: str | None = None,
    calibration: Path | None = None,
    keep: Path | None = None,
    force: bool = False,
    stages: Stages = silent,
) -> Manifest:
    """Write the artifact to `output` and return its manifest.

    `lengths`: tokens of its signatures, as `64,256`; the longest is the longest text that it takes.
    Weights are stored once for all. `calibration`: int8, texts by which large channels are known.
    The rest as `exporter.formats.openvino.export.export_openvino`. Raises BadInput or
    MissingDependency before the first long step.
    """
    del keep
    require("litert_torch", "torch")
    scheme = FORMAT.scheme(scheme)
    if checkpoint.architecture is None:
        raise BadInput(
            f"'{checkpoint.path}' has no LiteRT graph here ({checkpoint.not_built}); "
            "export it with lawvault export onnx --graph traced"
        )
    _check_places(checkpoint.architecture)
    width = checkpoint.dim if dim is None else dim
    if width not in checkpoint.matryoshka_dims:
        known = ", ".join(map(str, checkpoint.matryoshka_dims))
        raise BadInput(f"--dim {width} is not one that the model was trained for (known: {known})")
    if checkpoint.max_tokens > LONGEST:
        raise BadInput(
            f"'{checkpoint.path}' reads {checkpoint.max_tokens:,} tokens; a .tflite attends over "
            f"all of them at once, and {LONGEST:,} is the most: write a smaller max_seq_length "
            "into sentence_bert_config.json"
        )
    takes = _lengths(lengths, most=checkpoint.max_tokens)
    texts = read_calibration(calibration) if scheme == "int8" else None
    if texts is None and calibration is not None:
        raise BadInput("--quant fp32 measures nothing; leave --calibration out")
    check_output(output, force=force)
    check_free_disk(output, checkpoint.stored_parameters * (9 if texts else 5) + (1 << 20))
    with staged_folder(output, force=force) as stage:
        weights = ModelWeights(checkpoint)
        if texts is not None:
            count = checkpoint.architecture.num_layers
            smoothed = smoothed_weights(
                checkpoint,
                calibration_inputs(texts, checkpoint.prompts),
                on_layer=next_stage(stages, "int8: layers measured", count),
            )
            weights = RotatedWeights(smoothed, usual_blocks(smoothed.sites))
        progress = stages(f"{output.name}: signatures", len(takes))
        made = stage / ENTRY
        with _hushed():
            _convert(weights, made, dim=width, lengths=takes)
            progress(len(takes))
            if texts is not None:
                whole = made.with_suffix(".f32.partial")
                made.rename(whole)
                quantize_file(whole, made)
                whole.unlink()
        copy_beside(BESIDE, checkpoint, stage)
        return write_manifest(
            stage,
            checkpoint,
            Built(
                format="litert",
                scheme=scheme,
                entry=ENTRY,
                tensors=_records(weights, dim=width, eight=texts is not None),
                dim=width,
                options={"lengths": ",".join(map(str, takes))},
                libraries=("numpy", "torch", "litert-torch", "ai-edge-quantizer"),
                kept=KEPT if texts is not None else (),
                calibration_sha256=None if texts is None else calibration_sha256(texts),
            ),
        )


def _check_places(architecture: Architecture) -> None:
    """Raise BadInput where places depend on ids: signatures are written for places of their own."""
    steps = family_of(architecture).entry(architecture)
    if any(isinstance(step, Place) and step.unplaced is not None for step in steps):
        raise BadInput(
            f"LiteRT graphs count positions from 0, models of type '{architecture.model_type}' "
            "from behind their padding's id; export with lawvault export onnx"
        )


def _lengths(given: str | None, *, most: int) -> tuple[int, ...]:
    """Return the lengths of signatures, ascending; the model's limit is always among the usual."""
    if given is None:
        return (*(n for n in USUAL_LENGTHS if n < most), most)
    try:
        found = sorted({int(part) for part in given.split(",")})
    except ValueError:
        raise BadInput(f"--lengths '{given}' is no list of numbers; write 64,256") from None
    if found[0] < 1 or found[-1] > most:
        raise BadInput(f"--lengths '{given}' is not within 1 and {most}, the model's limit")
    if found[-1] != most:
        raise BadInput(
            f"--lengths '{given}' ends below {most}, the model's limit: longer texts would be "
            f"refused; add {most}"
        )
    return tuple(found)


def _convert(weights: ModelWeights, path: Path, *, dim: int, lengths: tuple[int, ...]) -> None:
    import litert_torch

    torch = torch_module()
    module, signatures = litert_module(weights, dim=dim), litert_torch
    for length in lengths:
        ids = torch.ones((1, length), dtype=torch.int32)
        signatures = signatures.signature(
            f"{SIGNATURE}{length}",
            module,
            sample_kwargs={"input_ids": ids, "attention_mask": ids.clone()},
        )
    signatures.convert(strict_export=False).export(str(path))


def _records(weights: ModelWeights, *, dim: int, eight: bool) -> tuple[TensorRecord, ...]:
    def record(name: str, shape: tuple[int, ...], *, exact: bool) -> TensorRecord:
        if exact or not eight:
            return TensorRecord(name=name, dtype="float32", shape=shape, bits_per_weight=32)
        return TensorRecord(
            name=name,
            dtype="int8",
            shape=shape,
            bits_per_weight=round(8 + 32 / shape[1], 4),
            reason="a scale an output channel, or a row of the table",
        )

    outside = {module.tensor for module in weights.checkpoint.dense}
    entry = weights.family.entry(weights.architecture)
    outside |= {f"{step.always}.weight" for step in entry if isinstance(step, Place)}
    made = [record("embed_tokens", weights.table.shape, exact=False)]
    for name, tensor in sorted(weights.checkpoint.tensors.items()):
        if name != TABLE and name not in outside:
            exact = len(tensor.shape) == 1 or not name.startswith("layers.")
            made.append(record(name, tensor.shape, exact=exact))
    head = weights.head(dim=dim)
    if head is not None:
        made.append(record("dense_folded", head.shape, exact=True))
    return tuple(made)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep the converter's own progress, warnings of its libraries and logs of C++ from the
    terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), stderr_dropped():
            yield
    finally:
        logging.disable(level)
