"""Importance matrices in llama.cpp's own file format: a GGUF of type `imatrix`.

For each matrix two F32 tensors, `{name}.in_sum2` (sums of squares of its input channels) and
`{name}.counts` (over how many rows), as tools/imatrix/imatrix.cpp writes them; llama-quantize
--imatrix reads them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput
from exporter.formats.gguf.tensors import gguf_tensors
from exporter.quantization.importance import Importance

IMATRIX_NAME = "imatrix.gguf"
SUMS, COUNTS = ".in_sum2", ".counts"
KEYS = gguf.Keys.IMatrix


def write_imatrix(
    path: Path, measured: Importance, checkpoint: Checkpoint, *, texts: int, dataset: str
) -> None:
    """Write the sums and counts of every matrix of the checkpoint, Dense included.

    `dataset` names the texts, of which there were `texts`.
    """
    writer = gguf.GGUFWriter(path=path, arch="imatrix")
    writer.kv_data[0].pop(gguf.Keys.General.ARCHITECTURE)  # llama.cpp's own file has none
    writer.add_type(gguf.GGUFType.IMATRIX)
    writer.add_array(KEYS.DATASETS, [dataset])
    writer.add_uint32(KEYS.CHUNK_COUNT, texts)
    writer.add_uint32(KEYS.CHUNK_SIZE, checkpoint.max_tokens)
    names = dict(_matrices(checkpoint, measured.sums))
    for name in sorted(names):
        at = names[name]
        writer.add_tensor(name + SUMS, measured.sums[at].astype(np.float32)[None])
        writer.add_tensor(name + COUNTS, np.array([[measured.counts[at]]], np.float32))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def read_imatrix(path: Path, checkpoint: Checkpoint) -> dict[str, npt.NDArray[np.float32]]:
    """Return the mean square of each matrix' input channels, by its tensor in the checkpoint.

    Raises BadInput for a file that is no importance matrix, is not finite, or belongs to another
    model.
    """
    found = _tensors(path)
    made: dict[str, npt.NDArray[np.float32]] = {}
    for name, info in gguf_tensors(checkpoint):
        sums = found.get(name + SUMS)
        if sums is None or len(info.shape) != 2:
            continue
        counts = found.get(name + COUNTS)
        if counts is None or counts.size != 1 or sums.size != info.shape[1]:
            raise BadInput(
                f"importance matrix '{path}': {name} has {sums.size} channels, the checkpoint "
                f"{info.shape[1]}; it was measured on another model"
            )
        square = sums.ravel() / np.float32(max(float(counts.ravel()[0]), 1.0))
        if not np.isfinite(square).all() or (square < 0).any():
            raise BadInput(f"importance matrix '{path}': {name} is not finite; measure it again")
        made[info.name] = square.astype(np.float32)
    if not made:
        raise BadInput(f"importance matrix '{path}' names no matrix of this checkpoint")
    return made


def _tensors(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise BadInput(f"no such importance matrix: '{path}'; pass --imatrix FILE.gguf")
    with path.open("rb") as handle:
        magic = handle.read(4)
    if magic != b"GGUF":
        raise BadInput(
            f"'{path}' is no importance matrix in GGUF; llama-imatrix writes one with "
            "--output-format gguf"
        )
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise BadInput(f"importance matrix '{path}' is damaged ({error})") from None
    return {tensor.name: np.array(tensor.data, np.float32) for tensor in reader.tensors}


def _matrices(checkpoint: Checkpoint, sums: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for name, info in gguf_tensors(checkpoint):
        for at in (info.name, info.name.removesuffix(".weight")):
            if at in sums:
                found.append((name, at))
                break
    return found
