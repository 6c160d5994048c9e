"""What an embedding GGUF from anywhere does to vectors: every finding with its effect."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import gguf

from exporter.checkpoint.contents import Finding, Severity
from exporter.formats.gguf.lint_model import lint_model
from exporter.formats.gguf.lint_tokenizer import lint_tokenizer
from exporter.formats.gguf.lint_values import lint_values
from exporter.formats.gguf.read import GgufHeader, GgufTensor, read_gguf_header

KINDS = {int(ggml_type): ggml_type for ggml_type in gguf.GGMLQuantizationType}
CHECKS: tuple[Callable[[GgufHeader], Iterable[Finding]], ...] = (
    lint_model,
    lint_tokenizer,
    lint_values,
)
ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}


def lint_gguf(path: Path) -> tuple[GgufHeader, tuple[Finding, ...]]:
    """Return the header of a file and what is to be said of it, errors first.

    An error means wrong vectors or a file that llama.cpp does not load. Nothing is executed, and
    memory holds one block at a time. Raises BadInput for a file that is no readable GGUF.
    """
    header = read_gguf_header(path)
    if header.keys.get("general.type") == "imatrix":
        return header, (
            _broken("not-a-model", "the file is an importance matrix", "there is nothing to run"),
        )
    found = list(lint_layout(header))
    if not any(finding.severity == "error" for finding in found):
        # Values lie where the header says only if the layout is sound.
        found += [finding for check in CHECKS for finding in check(header)]
    return header, tuple(sorted(found, key=lambda finding: ORDER[finding.severity]))


def lint_layout(header: GgufHeader) -> Iterable[Finding]:
    """Look at names, types and places of the tensors."""
    if not header.tensors:
        yield _broken("no-tensors", "the file has no tensors", "there is nothing to run")
    twice = [name for name, n in Counter(t.name for t in header.tensors).items() if n > 1]
    if twice:
        yield _broken(
            "tensor-twice", f"tensor '{twice[0]}' is listed twice", "llama.cpp does not load it"
        )
    for tensor in header.tensors:
        if tensor.ggml_type not in KINDS:
            yield _broken(
                "unknown-type",
                f"tensor '{tensor.name}' has type {tensor.ggml_type}",
                "this version of llama.cpp's formats has no such type",
            )
            continue
        block, _ = gguf.GGML_QUANT_SIZES[KINDS[tensor.ggml_type]]
        if tensor.shape and tensor.shape[-1] % block:
            yield _broken(
                "broken-row",
                f"tensor '{tensor.name}': rows of {tensor.shape[-1]} are no whole "
                f"blocks of {KINDS[tensor.ggml_type].name}",
                "llama.cpp does not load it",
            )
        end = tensor.offset + size_bytes(tensor)
        if end > header.size_bytes:
            yield _broken(
                "past-the-end",
                f"tensor '{tensor.name}' ends at byte {end:,}, the file at {header.size_bytes:,}",
                "llama.cpp does not load it, or reads what is not there",
            )
        elif tensor.offset % header.alignment:
            yield _broken(
                "misaligned",
                f"tensor '{tensor.name}' begins at byte {tensor.offset:,}, no "
                f"multiple of {header.alignment}",
                "llama.cpp does not load it",
            )


def size_bytes(tensor: GgufTensor) -> int:
    """Return the bytes of a tensor's data."""
    block, size = gguf.GGML_QUANT_SIZES[KINDS[tensor.ggml_type]]
    return int(math.prod(tensor.shape) // block * size)


def _broken(id: str, evidence: str, effect: str) -> Finding:
    return Finding(
        id=id,
        severity="error",
        evidence=evidence,
        effect=effect,
        remedy="copy the file again, or convert the model again",
    )
