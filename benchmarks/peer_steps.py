"""Steps of a benchmark, each in a process of its own: what it costs is its own, memory included,
and a file that ends its process (some do) ends no other's.

    python -m benchmarks.peer_steps STEP NAME JOB [TEXTS]

STEP: `make`, `encode` or `load`; JOB: the job as JSON; TEXTS: a file of what to encode. Prints its
result as JSON, on the last line.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_made import Job, folder_of, make_file
from benchmarks.peer_runs import Ids
from benchmarks.peer_vectors import encode_texts
from exporter.checkpoint.read import read_checkpoint
from exporter.errors import LawvaultError
from exporter.runtimes.alone import peak_memory


class StepFailed(Exception):
    """A step that gave no result, with the reason in one line."""


Step = Callable[..., dict[str, Any]]
"""`step(step, name, job, texts=None)`: see `alone`."""


def alone(step: str, name: str, job: Job, texts: Path | None = None) -> dict[str, Any]:
    """Do a step in a process of its own and return its result; what it says goes to a log.

    Raises StepFailed.
    """
    log = job.work / "log" / f"{step}-{name.replace(' ', '-')}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.peer_steps", step, name, job.to_json()]
    with log.open("wb") as said:
        ran = subprocess.run(
            [*command, *([str(texts)] if texts else [])],
            stdout=subprocess.PIPE,
            stderr=said,
            check=False,
        )
    if ran.returncode < 0:
        raise StepFailed(f"ended by signal {-ran.returncode}")
    if ran.returncode:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        raise StepFailed(" / ".join(lines[-1:]) or f"exit status {ran.returncode}")
    found: dict[str, Any] = json.loads(ran.stdout.decode().strip().splitlines()[-1])
    return found


def here(step: str, name: str, job: Job, texts: Path | None = None) -> dict[str, Any]:
    """Do a step in this process. Raises what went wrong as StepFailed where it is expected."""
    checkpoint = read_checkpoint(job.checkpoint, prompts=job.prompts)
    try:
        if step == "make":
            return make_file(name, job, checkpoint)
        if step == "encode":
            assert texts is not None
            return encode_texts(name, job, checkpoint, json.loads(texts.read_text("utf-8")))
        return _load(name, job, folder_of(name, job, checkpoint))
    except LawvaultError as error:
        raise StepFailed(str(error)) from error


def _load(name: str, job: Job, folder: Path) -> dict[str, Any]:
    for module in ("torch", "onnxruntime", "openvino"):  # importing is not loading
        if util.find_spec(module) and (module != "torch" or "torch" in name):
            __import__(module)
    began = time.perf_counter()
    run = job.peer(name).load(folder)
    seconds = time.perf_counter() - began
    run(*token_inputs(8, 128))
    return {"seconds": round(seconds, 3), "peak_mb": round(peak_memory() / 1e6)}


def token_inputs(batch: int, length: int) -> tuple[Ids, Ids]:
    """Return ids and mask, (batch, length), of tokens that every checkpoint has."""
    ids = np.random.default_rng(length).integers(4, 250, (batch, length)).astype(np.int64)
    ids[:, 0], ids[:, -1] = 2, 1
    return ids, np.ones_like(ids)


def main(arguments: list[str]) -> int:
    """Do what `alone` asked for."""
    step, name, job, *texts = arguments
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = here(step, name, Job.from_json(job), Path(texts[0]) if texts else None)
    except StepFailed as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    print("\n" + json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
