"""The exports of a release: one after the other, or side by side where cores and memory allow."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.records import Checkpoint, Prompts, WindowChoice
from exporter.gguf.export import export_gguf
from exporter.gguf.options import GgufOptions
from exporter.onnx.export import export_onnx
from exporter.openvino.export import QUANTS, export_openvino
from exporter.progress import Stages, silent
from exporter.recipe import ArtifactSpec
from exporter.registry import GGUF_TYPES, ONNX_SCHEMES

CORES_EACH = 2
THREADS_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Peak memory of the hungriest export, `q4` with calibration, was 1.9 GB for 303 million weights
# (int8 1.0 GB); torch itself is part of it.
MEMORY_PER_WEIGHT_BYTES = 6
MEMORY_FIXED_BYTES = 600_000_000


def schemes_of(kind: str) -> list[str]:
    """Return what a recipe may ask of a kind of artifact."""
    known = {"onnx": ONNX_SCHEMES, "gguf": GGUF_TYPES, "openvino": QUANTS}[kind]
    return ["fp32" if name == "none" else name for name in known]


def gguf_options(spec: ArtifactSpec) -> GgufOptions:
    """Return what a recipe asks of a GGUF."""
    return GgufOptions(plan=spec.plan, embedding_type=spec.embedding_type, imatrix=spec.imatrix)


def export_artifact(
    spec: ArtifactSpec, checkpoint: Checkpoint, folder: Path, *, force: bool, stages: Stages
) -> None:
    """Write the artifact that `spec` describes to `folder`."""
    quant = "none" if spec.scheme == "fp32" else spec.scheme
    if spec.kind == "onnx":
        export_onnx(checkpoint, folder, quant=quant, flavour=spec.flavour, force=force,
                    stages=stages)  # fmt: skip
    elif spec.kind == "openvino":
        export_openvino(checkpoint, folder, quant=quant, force=force, stages=stages)
    else:
        export_gguf(
            checkpoint, folder, type_name=spec.scheme, options=gguf_options(spec), force=force,
            stages=stages,
        )  # fmt: skip


def jobs_that_fit(checkpoint: Checkpoint, *, exports: int) -> int:
    """Return how many exports may run at once on this machine: two cores and the memory for each,
    at most as many as there are."""
    each = checkpoint.parameters * MEMORY_PER_WEIGHT_BYTES + MEMORY_FIXED_BYTES
    by_memory = int(psutil.virtual_memory().available // each)
    return max(1, min(exports, cores() // CORES_EACH, by_memory))


def cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def export_side_by_side(
    specs: Mapping[Path, ArtifactSpec], checkpoint: Checkpoint, *, jobs: int,
    force: Callable[[Path], bool], finished: Callable[[Path], None],
) -> None:  # fmt: skip
    """Export each of `specs` to its folder, `jobs` at a time, each in a process of its own.

    The bytes are those of one after the other. `finished` is called with each folder as it is
    done; the first error is raised when those begun have ended.
    """
    context = multiprocessing.get_context("spawn")
    threads = max(1, cores() // jobs)
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin_worker, initargs=(threads,)
    ) as pool:
        running = {
            pool.submit(
                _export_in_worker,
                spec,
                checkpoint.path,
                folder,
                window=checkpoint.window_choice,
                prompts=checkpoint.prompts,
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
    spec: ArtifactSpec, checkpoint: Path, folder: Path, *, window: WindowChoice, prompts: Prompts,
    force: bool,
) -> None:  # fmt: skip
    read = read_checkpoint(checkpoint, window=window, prompts=prompts)
    export_artifact(spec, read, folder, force=force, stages=silent)
