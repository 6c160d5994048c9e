"""Which of llama.cpp's kernels run on this machine, and how many threads they take."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporter.runtimes.cores import core_count

CPUINFO = Path("/proc/cpuinfo")
# llama.cpp's threads wait for each other busily: on a small model the waiting costs more than the
# work (a 10 MB model: 1.2 s with one thread, 27 s with two on a loaded two-core machine).
ONE_THREAD_BYTES = 50_000_000
# Compiled in or not, these round no product: F16C converts exactly, SSE3 to BMI2 are part of what
# the AVX kernels are made of, OpenMP only starts threads.
NOT_DECISIVE = frozenset({"SSE3", "SSSE3", "BMI2", "F16C", "OPENMP"})


def batch_threads(size_bytes: int) -> int:
    """Return the most threads that one batch of a model file of this size takes."""
    return 1 if size_bytes < ONE_THREAD_BYTES else core_count()


def cpu_flags() -> frozenset[str]:
    """Return the CPU's flags as Linux names them on x86; none where they cannot be read."""
    try:
        lines = CPUINFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        return frozenset()
    flags = (line.partition(":")[2].split() for line in lines if line.startswith("flags"))
    return frozenset(next(flags, ()))


def extra_buffers() -> bool:
    """Return whether llama.cpp may repack weights for the CPU at hand.

    Not where the CPU has AMX: the kernels on such buffers end with a segmentation fault
    (llama-cpp-python 0.3.36 on Q8_0; https://github.com/ggml-org/llama.cpp/issues/20824, and
    https://github.com/ggml-org/llama.cpp/pull/26954 for a cause). Nor where it cannot be told.
    """
    flags = cpu_flags()
    return bool(flags) and not any(flag.startswith("amx_") for flag in flags)


@contextlib.contextmanager
def with_buffers(library: Any, *, extra: bool) -> Iterator[None]:
    """Let llama.cpp repack weights, or keep it from that, while a model is loaded.

    `Llama` does not pass the parameter on, so the default it starts from is changed for the moment.
    """
    module = library.llama_cpp
    original = module.llama_model_default_params

    def changed() -> Any:
        parameters = original()
        parameters.use_extra_bufts = extra
        return parameters

    module.llama_model_default_params = changed
    try:
        yield
    finally:
        module.llama_model_default_params = original


def reduced(system_info: str) -> str:
    """Return the features of `llama_print_system_info` that decide how a product is rounded.

    `CPU : SSE3 = 1 | AVX2 = 1 | LLAMAFILE = 1 | ` gives `AVX2 LLAMAFILE`; values other than 1 and
    devices other than the CPU stay.
    """
    found = []
    for part in system_info.split("|"):
        device, colon, rest = part.rpartition(" : ")
        name, _, value = (word.strip() for word in rest.partition("="))
        if colon and device.strip() != "CPU":
            name = f"{device.strip()}:{name}"
        if name and value != "0" and name not in NOT_DECISIVE:
            found.append(name if value in ("", "1") else f"{name}={value}")
    return " ".join(found)


@functools.cache
def kernels() -> str | None:
    """Return which kernels run here, for caches and reports; None without llama-cpp-python.

    Two sets of kernels give vectors that lie as far apart as the file's own error: a rounding in
    the last digit moves an activation to the next of its 8-bit steps.
    """
    try:
        import llama_cpp
    except ImportError:
        return None
    state = "on" if extra_buffers() else "off"
    return f"extra buffers {state}; {reduced(llama_cpp.llama_print_system_info().decode())}"
