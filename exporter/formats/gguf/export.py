"""checkpoint -> a GGUF artifact folder: one file, its tokenizer, its manifest."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.vocabulary import copy_beside
from exporter.corpus.calibration import CalibrationText, calibration_inputs, calibration_sha256
from exporter.format import BUDGET, parse_size
from exporter.formats.gguf.format import FORMAT
from exporter.formats.gguf.fp16_inputs import check_fp16_inputs
from exporter.formats.gguf.names import IMATRIX_CHOICES, UNICODE_FORM
from exporter.formats.gguf.options import (
    DEFAULTS,
    GgufOptions,
    by_llama_quantize,
    check_type_and_options,
    libraries,
    recorded,
    variant,
)
from exporter.manifest import Built, Manifest, TensorRecord, write_manifest
from exporter.progress import Stages, silent
from exporter.staging import check_free_disk, check_output, staged_folder


def export_gguf(
    checkpoint: Checkpoint,
    output: Path,
    *,
    scheme: str = FORMAT.default_scheme,
    plan: str = DEFAULTS.plan,
    embedding_type: str | None = None,
    budget: str | None = None,
    imatrix: str = DEFAULTS.imatrix,
    prompt_keys: bool = False,
    calibration: Path | None = None,
    keep: Path | None = None,
    force: bool = False,
    stages: Stages = silent,
) -> Manifest:
    """Write `{model}-{type}.gguf` to `output` and return the manifest. Same input, same bytes.

    `scheme`: what matrices are stored as; the other options as in `GgufOptions`. `keep`: a folder
    for what other budgets can use again.
    `tokenizer.json` is copied beside it, for comparing token ids; under the plan `upstream` what
    was measured lies in `imatrix.gguf`, in llama.cpp's own format. `stages` is told of layers
    rounded or measured and of weights written. Everything is checked before the first long step.
    Raises BadInput for what the format cannot say, or MissingDependency.
    """
    budget = None if budget is None else budget.replace(" ", "")
    options = GgufOptions(plan, embedding_type, imatrix, calibration, prompt_keys, budget)
    scheme = FORMAT.asked_for(scheme, {BUDGET: budget})
    gguf_type, types, texts = check_type_and_options(scheme, options)
    # The library warns of what is checked here, or written as meant.
    for name in ("gguf", "metadata"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from exporter.formats.gguf.limits import check_expressible

    check_expressible(checkpoint)
    if options.budget is not None:
        from exporter.formats.gguf.mixed import check_mixed

        check_mixed(checkpoint, parse_size(options.budget), prompt_keys=prompt_keys)
    check_output(output, force=force)
    from exporter.formats.gguf.types import bits_per_weight

    bits = bits_per_weight(gguf_type.matrix) + (32 if by_llama_quantize(gguf_type, types) else 0)
    check_free_disk(output, int(checkpoint.stored_parameters * bits / 8 * 1.1) + (1 << 23))
    name = f"{checkpoint.name}-{gguf_type.name}.gguf"
    with staged_folder(output, force=force) as stage:
        fits = (
            check_fp16_inputs(checkpoint, options.calibration, stages=stages)
            if gguf_type.name == "f16"
            else None
        )
        chosen = turned = None
        if options.budget is not None:
            from exporter.formats.gguf.mixed import choose_types
            from exporter.formats.gguf.prepare import turned_weights

            size = parse_size(options.budget)
            inputs = calibration_inputs(texts or (), checkpoint.prompts)
            turned = turned_weights(checkpoint, inputs, stages=stages)
            gguf_type, types, chosen = choose_types(
                checkpoint,
                turned,
                inputs,
                budget=size,
                prompt_keys=prompt_keys,
                keep=keep,
                stages=stages,
            )
        prepared = _prepare(
            checkpoint, stage, gguf_type, types, options, texts=texts, turned=turned, stages=stages
        )
        records = _write(checkpoint, stage / name, gguf_type, types, prepared, options, stages)
        copy_beside(("tokenizer.json",), checkpoint, stage)
        kept = _kept(records) if chosen is None else [chosen.summary(size)]
        if fits is not None:
            kept.append(fits)
        return write_manifest(
            stage,
            checkpoint,
            Built(
                format="gguf",
                scheme=gguf_type.name,
                entry=name,
                tensors=records,
                libraries=libraries(gguf_type, types, measured=texts is not None),
                kept=tuple(kept),
                variant=variant(options),
                options=recorded(options, rounding=_rounding(prepared)) | _unicode_form(checkpoint),
                calibration_sha256=None if texts is None else calibration_sha256(texts),
            ),
        )


def _prepare(
    checkpoint: Checkpoint,
    stage: Path,
    gguf_type: Any,
    plan: Any,
    options: GgufOptions,
    *,
    texts: list[CalibrationText] | None,
    turned: Any,
    stages: Stages,
) -> Any:
    """Round on calibration text, or measure importances and leave them in their own file.

    `turned`: the weights as `turned_weights` returns them, where somebody asked for them already.
    """
    from exporter.formats.gguf.imatrix import IMATRIX_NAME, read_imatrix, write_imatrix
    from exporter.formats.gguf.prepare import Prepared, compensated, importances, turned_weights
    from exporter.quantization.weights import ModelWeights

    if options.imatrix not in IMATRIX_CHOICES:
        found = read_imatrix(Path(options.imatrix), checkpoint)
        return Prepared(ModelWeights(checkpoint), found)
    if texts is None:
        return Prepared(ModelWeights(checkpoint))
    inputs = calibration_inputs(texts, checkpoint.prompts)
    if plan.own_grids:
        if turned is None:
            turned = turned_weights(checkpoint, inputs, stages=stages)
        return compensated(turned, inputs, gguf_type=gguf_type, plan=plan, stages=stages)
    prepared = importances(checkpoint, inputs, stages=stages)
    dataset = "bundled" if options.calibration is None else options.calibration.name
    assert prepared.measured is not None
    write_imatrix(
        stage / IMATRIX_NAME, prepared.measured, checkpoint, texts=len(inputs), dataset=dataset
    )
    return prepared


def _unicode_form(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the form that texts must be in for equal token ids, for the manifest."""
    from exporter.formats.gguf.tensors import tokenizer_of

    form = tokenizer_of(checkpoint).unicode_form(checkpoint.tokenizer_folder)
    return {UNICODE_FORM: form} if form else {}


def _kept(records: Sequence[TensorRecord]) -> list[str]:
    return sorted({f"{r.dtype}: {r.reason}" for r in records if r.reason})


def _rounding(prepared: Any) -> str:
    """Return how weights were rounded, for the manifest."""
    if prepared.packed:
        return "compensated"
    return "importance" if prepared.importance else "nearest"


def _write(
    checkpoint: Checkpoint,
    path: Path,
    gguf_type: Any,
    plan: Any,
    prepared: Any,
    options: GgufOptions,
    stages: Stages,
) -> tuple[TensorRecord, ...]:
    from exporter.formats.gguf.tensors import gguf_tensors
    from exporter.formats.gguf.types import F32
    from exporter.formats.gguf.upstream import quantize_upstream
    from exporter.formats.gguf.writer import write_gguf

    if not by_llama_quantize(gguf_type, plan):
        return write_gguf(
            checkpoint,
            path,
            gguf_type,
            plan=plan,
            prepared=prepared,
            prompt_keys=options.prompt_keys,
            on_progress=stages(f"{path.stem}: weights", checkpoint.stored_parameters),
        )
    whole = path.with_suffix(".f32.partial")
    try:
        write_gguf(
            checkpoint,
            whole,
            F32,
            plan=plan,
            prepared=prepared,
            prompt_keys=options.prompt_keys,
            on_progress=stages(f"{path.stem}: weights", checkpoint.stored_parameters),
        )
        names = {info.name: name for name, info in gguf_tensors(checkpoint)}
        importance = {names[at]: values for at, values in prepared.importance.items()}
        return quantize_upstream(whole, path, gguf_type, importance=importance)
    finally:
        whole.unlink(missing_ok=True)
