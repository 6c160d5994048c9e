"""Packages with a verdict and golden vectors of the test's own."""

from pathlib import Path

from exporter.checkpoint.records import Checkpoint
from exporter.package.assemble import Judged, assemble
from exporter.package.golden import Golden, build_golden, own_minimum
from exporter.package.ollama import PACKAGER
from exporter.package.records import PackageManifest
from exporter.package.verdict import PackageVerdict
from exporter.registry import PACKAGERS, resolve


def package_ollama(
    artifact: Path, output: Path, *, checkpoint: Checkpoint, verdict: PackageVerdict,
    golden: Golden, force: bool = False,
) -> PackageManifest:  # fmt: skip
    judged = Judged(artifact, verdict, golden)
    return assemble(PACKAGER, [judged], output, checkpoint=checkpoint, force=force)


PASS = PackageVerdict(verdict="pass", corpus="c", corpus_sha256="0" * 64, cosine_minimum=0.9)


def judged_onnx(
    checkpoint: Checkpoint, folder: Path, *, quant: str, flavour: str = "web"
) -> Judged:
    """Export an artifact that passed; its own vectors are its reference, too."""
    from exporter.onnx.export import export_onnx
    from exporter.runtimes.onnxruntime import OnnxEncoder

    manifest = export_onnx(checkpoint, folder, quant=quant, flavour=flavour)
    encoder = OnnxEncoder(folder, threads=1)
    own_min = own_minimum("onnx", manifest.scheme)
    golden = build_golden(encoder, encoder, checkpoint.prompts, own_min=own_min)
    return Judged(folder, PASS, golden)


def package_transformersjs(
    artifacts: list[Judged], output: Path, *, checkpoint: Checkpoint, npm: Path | None
) -> Path:
    """Write a package of `artifacts`, with the page where `npm` holds transformers.js."""
    from exporter.package import transformersjs

    settings = {"node_modules": npm} if npm else {}
    assemble(transformersjs.PACKAGER, artifacts, output, checkpoint=checkpoint, settings=settings)
    return output


def package_onnx(
    name: str, artifacts: list[Judged], output: Path, *, checkpoint: Checkpoint
) -> Path:
    """Write the package `name` of ONNX artifacts that passed."""
    packager = resolve(PACKAGERS, name, kind="package")
    assemble(packager, artifacts, output, checkpoint=checkpoint)
    return output
