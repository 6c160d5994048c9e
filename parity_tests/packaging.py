"""One artifact packaged for Ollama with a verdict and golden vectors of the test's own."""

from pathlib import Path

from exporter.checkpoint.records import Checkpoint
from exporter.package.assemble import Judged, assemble
from exporter.package.golden import Golden
from exporter.package.ollama import PACKAGER
from exporter.package.records import PackageManifest
from exporter.package.verdict import PackageVerdict


def package_ollama(
    artifact: Path, output: Path, *, checkpoint: Checkpoint, verdict: PackageVerdict,
    golden: Golden, force: bool = False,
) -> PackageManifest:  # fmt: skip
    judged = Judged(artifact, verdict, golden)
    return assemble(PACKAGER, [judged], output, checkpoint=checkpoint, force=force)
