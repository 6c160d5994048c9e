"""What decides an encoder's vectors besides the text: the key under which they may be kept."""

import functools
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exporter.checkpoint.contents import Checkpoint
from exporter.manifest import library_versions

TORCH_LIBRARIES = ("sentence-transformers", "tokenizers", "torch", "transformers")
ARTIFACT_LIBRARIES = ("tokenizers",)
"""Beside those of its format."""


@functools.cache
def processor() -> str:
    """Return the name of the CPU: its instruction set decides how products are rounded."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def reference_identity(checkpoint: Checkpoint, *, dtype: str, device: str) -> dict[str, Any]:
    """Return the identity of the checkpoint run by torch in `dtype` on `device`."""
    adapter = () if checkpoint.adapter is None else ("peft",)
    return {
        "kind": "torch",
        "dtype": dtype,
        "device": device,
        "processor": processor(),
        "checkpoint": {path: digest for path, _, digest in checkpoint.file_hashes()},
        "window": checkpoint.window_used,
        "max_tokens": checkpoint.max_tokens,
        "libraries": library_versions((*TORCH_LIBRARIES, *adapter)),
    }


def artifact_identity(
    manifest_sha256: str, *, kernels: str | None, libraries: Sequence[str]
) -> dict[str, Any]:
    """Return the identity of an artifact, whose manifest holds the hashes of its files.

    `kernels`: what `Source.kernels` says; `libraries`: what else decides its vectors.
    """
    chosen = {} if kernels is None else {"kernels": kernels}
    return {
        "kind": "artifact",
        "manifest": manifest_sha256,
        "processor": processor(),
        "libraries": library_versions((*libraries, *ARTIFACT_LIBRARIES)),
        **chosen,
    }
