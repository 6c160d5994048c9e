"""A package for ONNX Runtime: both of its formats against the golden vectors, and their cost."""

from contextlib import closing
from pathlib import Path

from exporter.errors import BadInput
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.manifest import Manifest
from exporter.packages.golden import Golden
from exporter.packages.golden_check import check_golden
from exporter.packages.manifest import PackagedArtifact
from exporter.packages.verify import Proof
from exporter.runtimes.alone import measure_alone
from exporter.runtimes.encoder import Encoder

GRAPH, MOBILE = "model.onnx", "model.ort"


def verify_onnxruntime(
    folder: Path, entry: PackagedArtifact, golden: Golden, *, threads: int | None = None
) -> list[Proof]:
    """Load each file and compare; a runtime that cannot is told with its version.

    Raises MissingDependency.
    """
    proofs = []
    for file in (GRAPH, MOBILE):
        try:
            with closing(open_file(folder, entry.artifact, file, threads)) as encoder:
                proofs.append(Proof(f"golden, {file}", check_golden(golden, encoder)))
            seconds, peak = measure_alone(
                open_file, folder, entry.artifact, file, threads, what=f"'{folder / file}'"
            )
        except BadInput as error:
            proofs.append(Proof(f"golden, {file}", [str(error)]))
            continue
        told = f"{seconds:.2f} s to load, {peak / 1e6:,.0f} MB at most, Python included"
        proofs.append(Proof(f"cost, {file}", (), told=told, status="info"))
    return proofs


def open_file(folder: Path, manifest: Manifest, file: str, threads: int | None) -> Encoder:
    """Return the encoder of one file of the package. Raises BadInput, MissingDependency."""
    return OnnxEncoder(folder, manifest=manifest, file=file, threads=threads)
