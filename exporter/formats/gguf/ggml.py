"""ggml's own row quantizers, from the library that llama-cpp-python carries.

PyPI's gguf has no K-quants and takes no importance matrix; `ggml_quantize_chunk` (ggml.h) is what
llama-quantize itself calls, so the bytes are its bytes.
"""

import ctypes
from functools import cache
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput, require

Floats = npt.NDArray[np.float32]


def require_ggml() -> None:
    """Raise MissingDependency where llama-cpp-python is not installed. Loads nothing."""
    require("llama_cpp")


@cache
def _library() -> Any:
    require_ggml()
    from llama_cpp._ctypes_extensions import load_shared_library
    from llama_cpp._ggml import libggml, libggml_base_path

    # On Windows a symbol is found only in the library that holds it.
    library = libggml
    if not hasattr(library, "ggml_quantize_chunk"):
        library = load_shared_library("ggml-base", libggml_base_path)
    floats = ctypes.POINTER(ctypes.c_float)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        floats,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        floats,
    ]
    library.ggml_validate_row_data.restype = ctypes.c_bool
    library.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    return library


def quantize_rows(
    values: Floats, ggml_type: gguf.GGMLQuantizationType, *, importance: Floats | None = None
) -> npt.NDArray[np.uint8]:
    """Return the bytes of `values` in a ggml type. values: (rows, n) float32, n a multiple of the
    type's block; importance: (n,), the weight of each column's squared error, or None.

    Returns (rows, bytes of a row) uint8. Raises BadInput where a scale does not fit into fp16.
    """
    library = _library()
    rows = np.ascontiguousarray(values, np.float32)
    count, width = rows.shape
    block, size = gguf.GGML_QUANT_SIZES[ggml_type]
    made = np.empty((count, width // block * size), np.uint8)
    floats = ctypes.POINTER(ctypes.c_float)
    weights = None
    if importance is not None:
        assert importance.shape == (width,)
        kept = np.ascontiguousarray(importance, np.float32)
        weights = kept.ctypes.data_as(floats)
    written = library.ggml_quantize_chunk(
        int(ggml_type), rows.ctypes.data_as(floats), made.ctypes.data, 0, count, width, weights
    )
    assert written == made.nbytes, (written, made.nbytes)
    if not library.ggml_validate_row_data(int(ggml_type), made.ctypes.data, made.nbytes):
        raise BadInput(
            f"weights up to {float(np.abs(rows).max()):.3g} do not fit the fp16 scales of "
            f"{ggml_type.name}; export --type f32 or bf16"
        )
    return made
