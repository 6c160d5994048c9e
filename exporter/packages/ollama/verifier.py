"""The GGUF of a package in llama.cpp, against its golden vectors."""

from contextlib import closing
from pathlib import Path

from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.packages.golden import Golden
from exporter.packages.golden_check import check_golden
from exporter.packages.manifest import PackagedArtifact
from exporter.packages.verify import Proof


def verify_gguf(
    folder: Path, entry: PackagedArtifact, golden: Golden, *, threads: int | None = None
) -> list[Proof]:
    """Load the packaged file and compare. Raises BadInput or MissingDependency."""
    with closing(LlamaCppEncoder(folder, manifest=entry.artifact, threads=threads)) as encoder:
        return [Proof("golden", check_golden(golden, encoder))]
