"""What loading a model costs in a process that does nothing else."""

import json
import multiprocessing
import multiprocessing.connection
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from exporter.errors import BadInput
from exporter.runtimes.encoder import Encoder

RUNTIMES = ("onnxruntime", "llama_cpp", "openvino", "ai_edge_litert")


def measure_alone(load: Callable[..., Encoder], *arguments: Any, what: str) -> tuple[float, int]:
    """Return seconds that `load(*arguments)` takes, and peak bytes with one text encoded.

    `load`: a function at the top of its module, since it runs in a fresh process. The library is
    imported before the clock starts. Raises BadInput naming `what` where it cannot be loaded.
    """
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(child, load, arguments))
    process.start()
    child.close()
    try:
        seconds, peak = json.loads(parent.recv())
    except EOFError:
        raise BadInput(f"{what} cannot be loaded here; run lawvault parity on it") from None
    finally:
        process.join()
    return float(seconds), int(peak)


def _measure(
    answer: multiprocessing.connection.Connection,
    load: Callable[..., Encoder],
    arguments: tuple[Any, ...],
) -> None:
    for module in RUNTIMES:  # importing is not loading
        try:
            __import__(module)
        except ImportError:
            continue
    began = time.perf_counter()
    encoder = load(*arguments)
    seconds = time.perf_counter() - began
    encoder.encode(["押金不退怎么办"])
    answer.send(json.dumps((round(seconds, 3), peak_memory())))


def peak_memory() -> int:
    """Return the most bytes that this process had in memory.

    Linux hands getrusage's peak on from the process that started this one; the page table's own,
    VmHWM, starts anew (man 5 proc, man 2 getrusage).
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    on_windows = getattr(psutil.Process().memory_info(), "peak_wset", None)
    if on_windows is not None:
        return int(on_windows)
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
