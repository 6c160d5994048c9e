"""LanceDB tables that this tool did not make, right or wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

DIM = 16


def write_table(
    folder: Path,
    vectors: Any,
    *,
    name: str = "laws_vectors",
    ids: Sequence[Any] | None = None,
    texts: Sequence[str | None] | None = None,
    titles: Sequence[str] | None = None,
    dtype: str = "float32",
) -> Path:
    """Write rows as an application would, with its own names of columns. Returns `folder`."""
    vectors = np.asarray(vectors, dtype)
    count, dim = vectors.shape
    columns: dict[str, Any] = {
        "chunk_id": pa.array([f"d{i:03}" for i in range(count)] if ids is None else ids),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim),
    }
    if texts is not None:
        columns["content"] = pa.array(texts, pa.string())
    if titles is not None:
        columns["law"] = pa.array(titles, pa.string())
    bad = {}
    if not np.isfinite(vectors).all():
        # LanceDB refuses NaN unless told otherwise; older versions wrote it.
        bad = {"on_bad_vectors": "fill", "fill_value": float("nan")}
    lancedb.connect(folder).create_table(name, pa.table(columns), **bad)
    return folder


def random_rows(count: int, *, seed: int = 0, dim: int = DIM, unit: bool = True) -> Any:
    """Return (count, dim) float32 rows, of length 1 unless not `unit`."""
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if unit else rows
