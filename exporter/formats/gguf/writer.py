"""Write a GGUF, tensor by tensor.

Names, order and values follow conversion/ of llama.cpp (gemma.py, class EmbeddingGemma, with
`--sentence-transformers-dense-modules`; qwen.py, class Qwen3Model); a test runs that converter and,
under the plan `upstream`, compares the bytes.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.safetensors_file import TensorInfo, read_tensor
from exporter.errors import BadInput
from exporter.formats.gguf.grids import LAYOUTS
from exporter.formats.gguf.metadata import (
    add_calibration_keys,
    add_metadata,
    add_prompt_keys,
    add_vocabulary_key,
)
from exporter.formats.gguf.pack_codes import pack_nearest
from exporter.formats.gguf.plan import ALWAYS_F32, TABLE, Plan
from exporter.formats.gguf.prepare import Prepared
from exporter.formats.gguf.tensors import gguf_family, gguf_tensors
from exporter.formats.gguf.types import QTYPE, GgufType, bits_per_weight, pack
from exporter.manifest import TensorRecord
from exporter.quantization.weights import ModelWeights

Q8_0_BLOCK_BYTES = 34  # an fp16 scale, then 32 signed bytes


def write_gguf(
    checkpoint: Checkpoint,
    path: Path,
    gguf_type: GgufType,
    *,
    plan: Plan,
    prepared: Prepared,
    prompt_keys: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[TensorRecord, ...]:
    """Write the file. Returns what was stored. Memory holds one block of rows at a time.

    `prompt_keys` adds prompts and dims under `lawvault.`. `on_progress` is called with the number
    of weights written since the last call. Raises BadInput where a weight does not fit into fp16.
    """
    tensors = gguf_tensors(checkpoint)
    shapes = _shapes(checkpoint, prepared.weights)
    writer = gguf.GGUFWriter(path=None, arch=gguf_family(checkpoint).architecture)
    records = tuple(
        _announce(writer, name, shape, gguf_type, plan=plan) for name, shape in shapes.items()
    )
    _add_keys(
        writer, checkpoint, gguf_type, entries=len(prepared.importance), prompt_keys=prompt_keys
    )
    try:
        _write_header(writer, path)
        output = writer.fout[0]
        for name, info in tensors:
            stored, _ = plan.storage(gguf_type, name, shapes[name])
            written = 0
            for data, count in _data(name, info, stored, plan=plan, prepared=prepared):
                output.write(data.data)
                written += data.nbytes
                if on_progress is not None:
                    on_progress(count)
            writer.write_padding(output, written)
    finally:
        writer.close()
    return records


def tensor_bytes(shape: tuple[int, ...], stored: gguf.GGMLQuantizationType) -> int:
    """Return what a tensor takes in a file, the padding behind it included."""
    block, size = gguf.GGML_QUANT_SIZES[stored]
    written = int(np.prod(shape)) // int(block) * int(size)
    return written + -written % int(gguf.GGUF_DEFAULT_ALIGNMENT)


def header_bytes(
    checkpoint: Checkpoint, gguf_type: GgufType, *, plan: Plan, prompt_keys: bool
) -> int:
    """Return what a file takes beside the tensors that may be rounded: its head, whatever the types
    are, and all other tensors. Nothing is measured by importance."""
    writer = gguf.GGUFWriter(path=None, arch=gguf_family(checkpoint).architecture)
    whole = 0
    for name, shape in _shapes(checkpoint, ModelWeights(checkpoint)).items():
        _announce(writer, name, shape, gguf_type, plan=plan)
        if name != TABLE and not (len(shape) > 1 and name.startswith("blk.")):
            whole += tensor_bytes(shape, plan.storage(gguf_type, name, shape)[0])
    _add_keys(writer, checkpoint, gguf_type, entries=0, prompt_keys=prompt_keys)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.gguf"
        try:
            _write_header(writer, path)
        finally:
            writer.close()
        return whole + path.stat().st_size


def _write_header(writer: Any, path: Path) -> None:
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    output = writer.fout[0]
    writer.write_padding(output, output.tell())


def _add_keys(
    writer: Any, checkpoint: Checkpoint, gguf_type: GgufType, *, entries: int, prompt_keys: bool
) -> None:
    add_metadata(writer, checkpoint, gguf_type)
    add_vocabulary_key(writer, checkpoint)
    if entries:
        add_calibration_keys(writer, entries=entries)
    if prompt_keys:
        add_prompt_keys(writer, checkpoint)


def _shapes(checkpoint: Checkpoint, weights: ModelWeights) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor as it is stored, in the file's order."""
    return {
        name: weights.table.shape if name == TABLE else info.shape
        for name, info in gguf_tensors(checkpoint)
    }


def _announce(
    writer: Any, name: str, shape: tuple[int, ...], gguf_type: GgufType, *, plan: Plan
) -> TensorRecord:
    """Tell the writer of a tensor that will follow. Returns its record."""
    stored, reason = plan.storage(gguf_type, name, shape)
    block, size = gguf.GGML_QUANT_SIZES[stored]
    count = int(np.prod(shape))
    plain = {QTYPE.F32: np.float32, QTYPE.F16: np.float16}.get(stored)
    in_file = shape if plain else gguf.quant_shape_to_byte_shape(shape, stored)
    writer.add_tensor_info(
        name, in_file, np.dtype(plain or np.uint8), count // block * size, raw_dtype=stored
    )
    return TensorRecord(
        name=name,
        dtype=stored.name,
        shape=shape,
        bits_per_weight=bits_per_weight(stored),
        reason=reason,
    )


def _data(
    name: str, info: TensorInfo, stored: Any, *, plan: Plan, prepared: Prepared
) -> Iterator[tuple[npt.NDArray[np.uint8], int]]:
    """Yield the bytes of some rows of a tensor and how many weights they are."""
    if info.name in prepared.packed:
        yield prepared.packed[info.name], int(np.prod(info.shape))
        return
    rounded = pack_nearest if plan.own_grids and stored in LAYOUTS else pack
    for rows in _blocks(name, info, prepared):
        yield _packed(rows, stored, info.name, prepared, rounded=rounded), rows.size


def _packed(
    rows: npt.NDArray[np.float32],
    stored: Any,
    name: str,
    prepared: Prepared,
    *,
    rounded: Callable[..., npt.NDArray[np.uint8]],
) -> npt.NDArray[np.uint8]:
    try:
        data = rounded(rows, stored, importance=prepared.importance.get(name))
    except BadInput as error:
        raise BadInput(f"tensor '{name}': {error}") from None
    _check_range(data, stored, name)
    return data


def _check_range(data: npt.NDArray[np.uint8], stored: Any, name: str) -> None:
    """Raise BadInput where fp16 weights, or the fp16 scales of Q8_0, became infinite."""
    if stored is QTYPE.F16:
        halves, limit = data.view(np.float16), "65,504"
    elif stored is QTYPE.Q8_0:
        scales = data.reshape(-1, Q8_0_BLOCK_BYTES)[:, :2].copy()
        halves, limit = scales.view(np.float16), "127 times 65,504"
    else:
        return
    if not np.isfinite(halves).all():
        raise BadInput(
            f"tensor '{name}' has weights beyond {limit}, which fp16 cannot hold; "
            "export --type f32 or bf16"
        )


def _blocks(name: str, info: TensorInfo, prepared: Prepared) -> Iterator[npt.NDArray[np.float32]]:
    if name.startswith("dense_") or name in ALWAYS_F32:
        yield read_tensor(info)
    elif name.endswith(".bias"):
        yield prepared.weights.bias(info.name.removesuffix(".bias"))
    elif len(info.shape) == 2 and name.startswith("blk."):
        yield prepared.weights.matrix(info.name.removesuffix(".weight"))
    elif name == TABLE:
        yield from prepared.weights.table.blocks()
    else:  # GGUF norms hold the whole gain
        yield prepared.weights.gain(info.name.removesuffix(".weight"))
