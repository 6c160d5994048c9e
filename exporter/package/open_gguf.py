"""The GGUF of a package in llama.cpp."""

from pathlib import Path

from exporter.package.records import PackageManifest
from exporter.runtimes.encoder import Encoder
from exporter.runtimes.llamacpp import LlamaCppEncoder


def open_packaged_gguf(
    folder: Path, manifest: PackageManifest, *, threads: int | None = None
) -> Encoder:
    """Load the packaged file. Raises BadInput or MissingDependency."""
    return LlamaCppEncoder(folder, manifest=manifest.artifact, threads=threads)
