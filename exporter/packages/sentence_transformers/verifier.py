"""A package for sentence-transformers, loaded by it with its ONNX backend."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from exporter.checkpoint.modules import read_modules
from exporter.errors import BadInput
from exporter.packages.golden import Golden
from exporter.packages.golden_check import check_golden, shown
from exporter.packages.manifest import PackagedArtifact
from exporter.packages.sentence_transformers.backend import SentenceTransformersEncoder
from exporter.packages.shipped import foreign_scripts
from exporter.packages.verify import Proof
from exporter.runtimes.encoder import Vectors

SAME = 1e-5
"""1 - cosine of the same components of the same vector."""


def verify_files(
    folder: Path, entry: PackagedArtifact, golden: Golden, *, threads: int | None = None
) -> list[Proof]:
    """Load the file as a user does, and compare at the full width and at the narrowest that was
    trained. Raises MissingDependency."""
    del threads  # its backend takes session options instead
    foreign = [*foreign_scripts(folder, {}), *foreign_modules(folder)]
    if foreign:  # the library imports and runs what modules.json and config.json name
        return [Proof("modules", foreign)]
    file, artifact = entry.file, entry.artifact
    try:
        encoder = SentenceTransformersEncoder(folder, file, dim=artifact.dim)
    except BadInput as error:
        return [Proof(f"golden, {file}", [str(error)])]
    with closing(encoder):
        proofs = [Proof(f"golden, {file}", check_golden(golden, encoder))]
        dims = artifact.matryoshka_dims
        if dims and dims[-1] < artifact.dim:
            texts = [text.text for text in golden.texts]
            short = encoder.encode(texts, dim=dims[-1])
            failures = _cut_failures(texts, encoder.encode(texts), short)
            proofs.append(Proof(f"truncate_dim {dims[-1]}, {file}", failures))
    return proofs


def foreign_modules(folder: Path) -> list[str]:
    """Return a line for each thing in the configuration by which loading would run code: a module
    that is none of sentence-transformers' own, or an auto_map."""
    lines = []
    try:
        read_modules(folder)
    except BadInput as error:
        lines.append(str(error))
    for path in sorted(folder.rglob("*.json")):
        if b'"auto_map"' in path.read_bytes():
            lines.append(f"'{path.relative_to(folder).as_posix()}' has auto_map, which names code")
    return lines


def _cut_failures(texts: Sequence[str], whole: Vectors, short: Vectors) -> list[str]:
    """Compare vectors that the library cut with whole ones cut here. Both: unit rows."""
    failures = []
    for text, vector, full in zip(texts, short.astype(np.float64), whole, strict=True):
        own = full[: len(vector)].astype(np.float64)
        distance = 1 - float(vector @ own / np.linalg.norm(own))
        if not distance <= SAME:
            failures.append(f"{distance:.1e} from the cut of the whole vector for {shown(text)!r}")
    return failures
