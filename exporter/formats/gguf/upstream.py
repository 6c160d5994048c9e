"""llama-quantize itself, as the library that llama-cpp-python carries offers it."""

import ctypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput
from exporter.formats.gguf.ggml import require_ggml
from exporter.formats.gguf.types import GgufType, bits_per_weight
from exporter.manifest import TensorRecord

Floats = npt.NDArray[np.float32]


def quantize_upstream(
    source: Path,
    target: Path,
    gguf_type: GgufType,
    *,
    importance: Mapping[str, Floats] | None = None,
) -> tuple[TensorRecord, ...]:
    """Write `target` from the F32 GGUF `source` as `llama-quantize` does. Returns what it chose.

    importance: (in,) by the tensor's name in the file, as `--imatrix` gives it. Raises BadInput
    with what llama.cpp says where it refuses, MissingDependency without llama-cpp-python.
    """
    require_ggml()
    import llama_cpp

    said: list[str] = []

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def listen(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
        del level, user_data
        said.append(text.decode("utf-8", "replace"))

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = int(gguf_type.file_type)
    entries = _entries(importance or {})
    if importance:
        parameters.imatrix = entries
    llama_cpp.llama_log_set(listen, ctypes.c_void_p(0))
    try:
        failed = llama_cpp.llama_model_quantize(
            str(source).encode(), str(target).encode(), ctypes.byref(parameters)
        )
    finally:
        llama_cpp.llama_log_set(_silent(), ctypes.c_void_p(0))
    if failed:
        reason = next((line.strip() for line in reversed(said) if "failed" in line), "no reason")
        raise BadInput(f"llama.cpp cannot quantize to {gguf_type.name} ({reason})")
    return _records(target, gguf_type)


def _entries(importance: Mapping[str, Floats]) -> Any:
    """Return llama.cpp's array of importances; an entry without a name ends it."""
    import llama_cpp

    made = (llama_cpp.llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(made, importance.items(), strict=False):
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return made


@cache
def _silent() -> Any:
    """Return a log callback that drops everything, for the life of the process: llama.cpp holds
    the pointer."""
    import llama_cpp

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def drop(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
        del level, text, user_data

    return drop


def _records(path: Path, gguf_type: GgufType) -> tuple[TensorRecord, ...]:
    made = []
    for tensor in gguf.GGUFReader(path).tensors:
        chosen = tensor.tensor_type
        other = len(tensor.shape) > 1 and chosen != gguf_type.matrix
        made.append(
            TensorRecord(
                name=tensor.name,
                dtype=chosen.name,
                shape=tuple(int(n) for n in tensor.shape[::-1]),
                bits_per_weight=bits_per_weight(chosen),
                reason=f"llama-quantize's preset takes {chosen.name}" if other else "",
            )
        )
    return tuple(made)
