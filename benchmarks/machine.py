"""On what and from what a benchmark's figures are."""

import os
import platform
import sys
from pathlib import Path
from typing import Any

from exporter.checkpoint.contents import Checkpoint
from exporter.manifest import library_versions
from exporter.runtimes.identity import processor

LIBRARIES = (
    "lawvault-exporter",
    "llama-cpp-python",
    "lancedb",
    "nncf",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "optimum-onnx",
    "ray",
    "sentence-transformers",
    "torch",
    "transformers",
)
FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
"""Instructions that decide which kernels run."""


def about(checkpoint: Checkpoint, arguments: list[str]) -> dict[str, Any]:
    """Return machine, library versions, weights by hash and the command. Folders by their last
    name only: where they lie says nothing of the figures."""
    return {
        "checkpoint": checkpoint.name,
        "weights_sha256": {
            path: digest
            for path, _, digest in checkpoint.file_hashes()
            if path.endswith(".safetensors") and "/" not in path
        },
        "prompts": checkpoint.prompts.model_dump(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "instructions": [flag for flag in FLAGS if flag in _flags()],
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "libraries": library_versions(LIBRARIES),
        "command": " ".join(["python", "-m", _module(), *map(_named, arguments)]),
    }


def lines(found: dict[str, Any]) -> list[str]:
    """Return the same as lines of Markdown."""
    prompts = found["prompts"]
    weights = ", ".join(f"{name} {digest}" for name, digest in found["weights_sha256"].items())
    versions = ", ".join(f"{name} {version}" for name, version in found["libraries"].items())
    flags = ", ".join(found["instructions"]) or "none of the instructions that decide kernels"
    return [
        f"- {found['checkpoint']}: {weights}",
        f"- prompts: query `{prompts['query']}`, document `{prompts['document']}`",
        f"- {found['processor']}, {found['cores']} cores ({flags}), {found['system']}",
        f"- {versions}",
        f"- `{found['command']}`",
    ]


def _flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return set()
    found = (line.partition(":")[2] for line in text.splitlines() if line.startswith("flags"))
    return set(next(found, "").split())


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else Path(sys.argv[0]).stem


def _named(argument: str) -> str:
    if argument.startswith("/"):
        argument = Path(argument).name
    return f"'{argument}'" if " " in argument else argument
