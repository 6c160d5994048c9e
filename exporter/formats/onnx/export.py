"""checkpoint -> an ONNX artifact folder: graph, weights, tokenizer, manifest."""

from pathlib import Path

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.tokenizer import TOKENIZER_FILES
from exporter.checkpoint.vocabulary import copy_beside
from exporter.corpus.calibration import (
    CalibrationText,
    calibration_inputs,
    calibration_sha256,
    read_calibration,
)
from exporter.errors import BadInput, require
from exporter.format import BUDGET, parse_size
from exporter.formats.onnx.format import FORMAT
from exporter.formats.onnx.names import FLAVOURS, GRAPHS, SCHEMES
from exporter.formats.onnx.scheme import Scheme
from exporter.manifest import Built, Manifest, write_manifest
from exporter.progress import Stages, silent
from exporter.registry import resolve
from exporter.staging import check_free_disk, check_output, staged_folder

# What an encoder needs beside the graph, so that the folder stands without the checkpoint. Not
# modules.json: a loader that follows it would apply the Dense modules a second time.
BESIDE = ("config.json", *TOKENIZER_FILES, "tokenizer.model", "vocab.txt")

LIBRARIES = {
    "built": ("numpy", "onnx"),
    "traced": ("onnx", "optimum-onnx", "sentence-transformers", "torch", "transformers"),
}


def export_onnx(
    checkpoint: Checkpoint,
    output: Path,
    *,
    scheme: str = FORMAT.default_scheme,
    dim: int | None = None,
    budget: str | None = None,
    graph: str = "built",
    flavour: str = "portable",
    calibration: Path | None = None,
    keep: Path | None = None,
    force: bool = False,
    stages: Stages = silent,
) -> Manifest:
    """Write the artifact to `output` and return its manifest. Same input, same bytes.

    `budget`: of the scheme `mixed`, the most bytes of graph and weights, as `150MB`.
    `dim`: one of the checkpoint's Matryoshka dims; the cut is folded into the last matrix.
    `flavour`: what the graph is written for, see `exporter.formats.onnx.flavour`.
    `calibration`: texts to measure the model on, one a line, for the schemes that measure it; the
    bundled ones by default.
    `keep`: a folder for what other graphs of the same weights and scheme can use again.
    `stages` is told of layers measured and weights written. Everything is checked before the first
    long step. Raises BadInput or MissingDependency.
    """
    require("onnx")
    chosen_scheme = FORMAT.asked_for(scheme, {BUDGET: budget})
    storing = resolve(SCHEMES, chosen_scheme, what="--quant")
    write = resolve(GRAPHS, graph, what="--graph")
    written_for = resolve(FLAVOURS, flavour, what="--flavour")
    width = checkpoint.dim if dim is None else dim
    if width not in checkpoint.matryoshka_dims:
        known = ", ".join(map(str, checkpoint.matryoshka_dims))
        raise BadInput(f"--dim {width} is not one that the model was trained for (known: {known})")
    if graph == "built":
        from exporter.formats.onnx.built import check_built

        check_built(checkpoint)
    else:
        from exporter.formats.onnx.traced import check_traced

        check_traced(checkpoint, scheme=storing, dim=width, flavour=written_for)
        require("optimum.exporters.onnx")
    if budget is not None:
        budget = budget.replace(" ", "")
        size = parse_size(budget)
        require("torch")
        storing = storing.within(size, checkpoint, dim=width, flavour=written_for)
    texts = _calibration_texts(storing, calibration)
    check_output(output, force=force)
    check_free_disk(
        output, int(checkpoint.stored_parameters * storing.bytes_per_weight() * 1.1) + (1 << 20)
    )
    with staged_folder(output, force=force) as stage:
        measured, chosen = None, {"graph": graph}
        if budget is not None:
            chosen["budget"] = budget
        if graph == "built":
            chosen["flavour"] = flavour
        if texts is not None:
            measured = storing.measure(
                checkpoint, calibration_inputs(texts, checkpoint.prompts), keep=keep, stages=stages
            )
        records = write(
            checkpoint,
            stage,
            scheme=measured.scheme if measured else storing,
            dim=width,
            flavour=written_for,
            weights=measured.weights if measured else None,
            on_progress=stages(f"{output.name}: weights", checkpoint.stored_parameters),
        )
        copy_beside(BESIDE, checkpoint, stage)
        return write_manifest(
            stage,
            checkpoint,
            Built(
                format="onnx",
                scheme=chosen_scheme,
                entry="model.onnx",
                tensors=records,
                dim=width,
                options=chosen,
                variant="-".join(
                    v for v in (flavour if flavour != "portable" else "", budget) if v
                ),
                libraries=LIBRARIES[graph] + (("torch",) if texts is not None else ()),
                kept=(measured.scheme if measured else storing).kept,
                fp16=measured.fp16 if measured else None,
                calibration_sha256=None if texts is None else calibration_sha256(texts),
            ),
        )


def _calibration_texts(scheme: Scheme, path: Path | None) -> list[CalibrationText] | None:
    """Return the texts that the scheme is measured on, None where it measures nothing."""
    if not hasattr(scheme, "measure"):
        if path is not None:
            raise BadInput(f"--quant {scheme.name} measures nothing; leave --calibration out")
        return None
    require("torch")
    return read_calibration(path)
