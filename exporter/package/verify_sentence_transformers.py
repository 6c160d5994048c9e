"""A package for sentence-transformers, loaded by it with its ONNX backend."""

from contextlib import closing
from pathlib import Path

import numpy as np

from exporter.errors import BadInput
from exporter.package.golden import Golden, check_golden
from exporter.package.records import PackagedArtifact
from exporter.package.verify import Proof
from exporter.runtimes.encoder import Vectors
from exporter.runtimes.sentence_transformers_onnx import SentenceTransformersEncoder


def verify_files(
    folder: Path, entry: PackagedArtifact, golden: Golden, *, threads: int | None = None
) -> list[Proof]:
    """Load the file as a user does, and compare at the full width and at the narrowest that was
    trained. Raises MissingDependency."""
    del threads  # its backend takes session options instead
    file, artifact = entry.file, entry.artifact
    try:
        encoder = SentenceTransformersEncoder(folder, file, dim=artifact.dim)
    except BadInput as error:
        return [Proof(f"golden, {file}", [str(error)])]
    with closing(encoder):
        proofs = [Proof(f"golden, {file}", check_golden(golden, encoder))]
        dims = artifact.matryoshka_dims
        if dims and dims[-1] < artifact.dim:
            short = encoder.encode([text.text for text in golden.texts], dim=dims[-1])
            proofs.append(Proof(f"truncate_dim {dims[-1]}, {file}", _cut_failures(golden, short)))
    return proofs


def _cut_failures(golden: Golden, short: Vectors) -> list[str]:
    """Compare cut vectors, (n, dim) unit rows, with the golden ones cut alike."""
    failures = []
    for entry, vector in zip(golden.texts, short.astype(np.float64), strict=True):
        own = np.asarray(entry.vector, np.float64)[: len(vector)]
        cosine = float(vector @ own / np.linalg.norm(own))
        if not cosine >= golden.cosine_to_own_min:
            failures.append(f"cosine {cosine:.6f} to its own vector for {entry.text[:40]!r}")
    return failures
