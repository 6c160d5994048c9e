"""A package for Android against its golden vectors, in LiteRT on this processor."""

from contextlib import closing
from pathlib import Path

from exporter.errors import BadInput
from exporter.formats.litert.runtime import LiteRtEncoder
from exporter.manifest import Manifest
from exporter.packages.golden import Golden
from exporter.packages.golden_check import check_golden
from exporter.packages.manifest import PackagedArtifact
from exporter.packages.verify import Proof
from exporter.runtimes.alone import measure_alone
from exporter.runtimes.encoder import Encoder


def verify_android(
    folder: Path, entry: PackagedArtifact, golden: Golden, *, threads: int | None = None
) -> list[Proof]:
    """Load the model and compare. Raises MissingDependency."""
    try:
        with closing(open_model(folder, entry.artifact, threads)) as encoder:
            proofs = [Proof("golden", check_golden(golden, encoder))]
        seconds, peak = measure_alone(
            open_model, folder, entry.artifact, threads, what=f"'{folder}'"
        )
    except BadInput as error:
        return [Proof("golden", [str(error)])]
    told = f"{seconds:.2f} s to load, {peak / 1e6:,.0f} MB at most, Python included"
    return [*proofs, Proof("cost", (), told=told, status="info")]


def open_model(folder: Path, manifest: Manifest, threads: int | None) -> Encoder:
    """Return the encoder of the package. Raises BadInput, MissingDependency."""
    return LiteRtEncoder(folder, manifest=manifest, threads=threads)
