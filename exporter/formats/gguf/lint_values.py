"""The numbers in a GGUF: not finite, or norms that lack their one."""

from collections.abc import Iterable, Iterator

import gguf
import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Finding
from exporter.formats.gguf.read import GgufHeader, GgufTensor

Q = gguf.GGMLQuantizationType
# Where the fp16 scales of a block lie, as bytes (ggml-common.h).
SCALES = {
    Q.Q4_0: (0, 2),
    Q.Q5_0: (0, 2),
    Q.Q8_0: (0, 2),
    Q.IQ4_NL: (0, 2),
    Q.IQ4_XS: (0, 2),
    Q.Q4_1: (0, 4),
    Q.Q5_1: (0, 4),
    Q.Q4_K: (0, 4),
    Q.Q5_K: (0, 4),
    Q.Q6_K: (208, 210),
    Q.Q3_K: (108, 110),
    Q.Q2_K: (80, 84),
}
PLAIN = {Q.F32: "<f4", Q.F16: "<f2", Q.BF16: "<u2"}
BLOCK_BYTES = 1 << 24
BF16_EXPONENT = 0x7F80
# Gains are 1 + w and stay above 0 in practice; the w of a fresh norm lie around 0.
RAW_SHARE = 0.05


def lint_values(header: GgufHeader) -> Iterable[Finding]:
    """Read every tensor once, block by block."""
    low = count = 0
    for tensor in header.tensors:
        ggml_type = Q(tensor.ggml_type)
        bad = sum(_not_finite(block, ggml_type) for block in _blocks(header, tensor, ggml_type))
        if bad:
            yield Finding(
                id="not-finite",
                severity="error",
                evidence=f"tensor '{tensor.name}' has {bad:,} values or scales that are NaN or "
                "infinite",
                effect="vectors of the texts that meet them are NaN",
                remedy="convert again from a sound checkpoint, with fewer or other 16-bit types",
            )
        if tensor.name.endswith("norm.weight") and ggml_type is Q.F32:
            for block in _blocks(header, tensor, ggml_type):
                values = block.view("<f4")
                low, count = low + int((values <= 0).sum()), count + values.size
    architecture = str(header.keys.get("general.architecture", ""))
    if architecture.startswith("gemma") and count and low > RAW_SHARE * count:
        yield Finding(
            id="raw-norms",
            severity="error",
            evidence=f"{low:,} of {count:,} norm weights are 0 or less: they look like w, and "
            "llama.cpp multiplies by what the file holds, which must be 1 + w",
            effect="every layer is scaled wrongly; vectors have nothing to do with the model's",
            remedy="convert again with llama.cpp's converter, or lawvault export gguf",
        )


def _blocks(
    header: GgufHeader, tensor: GgufTensor, ggml_type: gguf.GGMLQuantizationType
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the tensor's bytes, whole ggml blocks at a time."""
    per_block, size = gguf.GGML_QUANT_SIZES[ggml_type]
    total = int(np.prod(tensor.shape)) // per_block * size
    step = max(1, BLOCK_BYTES // size) * size
    for at in range(0, total, step):
        length = min(step, total - at)
        yield np.fromfile(header.path, np.uint8, length, offset=tensor.offset + at)


def _not_finite(block: npt.NDArray[np.uint8], ggml_type: gguf.GGMLQuantizationType) -> int:
    if ggml_type is Q.BF16:
        return int(((block.view("<u2") & BF16_EXPONENT) == BF16_EXPONENT).sum())
    if ggml_type in PLAIN:
        return int((~np.isfinite(block.view(PLAIN[ggml_type]))).sum())
    if ggml_type not in SCALES:  # not one that embedding models are stored in; layout was checked
        return 0
    start, end = SCALES[ggml_type]
    size = gguf.GGML_QUANT_SIZES[ggml_type][1]
    scales = np.ascontiguousarray(block.reshape(-1, size)[:, start:end])
    return int((~np.isfinite(scales.view("<f2"))).sum())
