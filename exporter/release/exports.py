"""The exports of a release: one after the other, or side by side where cores and memory allow."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from exporter.checkpoint.contents import Checkpoint, Prompts, WindowChoice
from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.vocabulary import with_vocabulary
from exporter.corpus.beir import Corpus
from exporter.corpus.calibration import (
    CalibrationText,
    check_enough,
    corpus_calibration,
    read_calibration,
)
from exporter.progress import Stages, silent
from exporter.recipe import ArtifactSpec, Recipe
from exporter.runtimes.cores import core_count

CALIBRATION_NAME = "calibration.jsonl"
CORES_EACH = 2
THREADS_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Peak memory of the hungriest export, `q4` with calibration, was 1.9 GB for 303 million weights
# (int8 1.0 GB); torch itself is part of it.
MEMORY_PER_WEIGHT_BYTES = 6
MEMORY_FIXED_BYTES = 600_000_000


def export_artifact(
    spec: ArtifactSpec,
    checkpoint: Checkpoint,
    folder: Path,
    *,
    force: bool,
    stages: Stages,
    calibration: Path | None = None,
    keep: Path | None = None,
) -> None:
    """Write the artifact that `spec` describes to `folder`.

    `calibration`: texts for what is fitted on some; the bundled ones for None. `keep`: a folder
    for rounded weights that several artifacts are written from.
    """
    texts = calibration if calibrates(spec) else None
    if spec.vocabulary is not None:
        checkpoint = with_vocabulary(checkpoint, Path(spec.vocabulary))
    spec.format_record.resolve("export")(
        checkpoint,
        folder,
        scheme=spec.scheme,
        calibration=texts,
        keep=keep,
        force=force,
        stages=stages,
        **spec.options,
    )


def calibrates(spec: ArtifactSpec) -> bool:
    """Return whether the artifact is fitted on calibration texts. Raises BadInput or
    MissingDependency for options that do not go together."""
    return spec.format_record.fitted(spec.scheme, spec.options)


def release_calibration(
    recipe: Recipe, recipe_path: Path, *, folder: Path, corpus: Corpus
) -> list[CalibrationText] | None:
    """Return what a recipe's artifacts are fitted on, None for the bundled texts.

    `folder` is where `corpus`, which is judged on, was read from. Raises BadInput.
    """
    if recipe.calibration == "bundled":
        return None
    if recipe.calibration == "corpus":
        return corpus_calibration(folder, corpus)
    asked = {question.strip() for question in corpus.queries}
    texts = read_calibration(recipe_path.parent / recipe.calibration)
    return check_enough([text for text in texts if text.text.strip() not in asked], folder)


def jobs_that_fit(checkpoint: Checkpoint, *, exports: int) -> int:
    """Return how many exports may run at once on this machine: two cores and the memory for each,
    at most as many as there are."""
    each = checkpoint.parameters * MEMORY_PER_WEIGHT_BYTES + MEMORY_FIXED_BYTES
    by_memory = int(psutil.virtual_memory().available // each)
    return max(1, min(exports, core_count() // CORES_EACH, by_memory))


def export_side_by_side(
    specs: Mapping[Path, ArtifactSpec],
    checkpoint: Checkpoint,
    *,
    jobs: int,
    calibration: Path | None,
    keep: Path,
    force: Callable[[Path], bool],
    finished: Callable[[Path], None],
) -> None:
    """Export each of `specs` to its folder, `jobs` at a time, each in a process of its own.

    The bytes are those of one after the other. `finished` is called with each folder as it is
    done; the first error is raised when those begun have ended.
    """
    context = multiprocessing.get_context("spawn")
    threads = max(1, core_count() // jobs)
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin_worker, initargs=(threads,)
    ) as pool:
        running = {
            pool.submit(
                _export_in_worker,
                spec,
                checkpoint.source,
                folder,
                base=checkpoint.base,
                window=checkpoint.window_choice,
                prompts=checkpoint.prompts,
                calibration=calibration,
                keep=keep,
                force=force(folder),
            ): folder
            for folder, spec in specs.items()
        }
        try:
            for done in as_completed(running):
                done.result()
                finished(running[done])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin_worker(threads: int) -> None:
    for name in THREADS_VARIABLES:  # read when torch and numpy's BLAS are first imported
        os.environ[name] = str(threads)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        # A parent that is killed outright cannot tell its workers.
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _export_in_worker(
    spec: ArtifactSpec,
    checkpoint: Path,
    folder: Path,
    *,
    base: str | None,
    window: WindowChoice,
    prompts: Prompts,
    calibration: Path | None,
    keep: Path,
    force: bool,
) -> None:
    read = read_checkpoint(checkpoint, base=base, window=window, prompts=prompts)
    export_artifact(
        spec, read, folder, calibration=calibration, keep=keep, force=force, stages=silent
    )
