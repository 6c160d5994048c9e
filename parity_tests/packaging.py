"""Packages with a verdict and golden vectors of the test's own."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.checkpoint.read import read_checkpoint
from exporter.manifest import MANIFEST_NAME, describe_files
from exporter.packages.assemble import Judged, assemble
from exporter.packages.golden import Golden, build_golden
from exporter.packages.golden_truth import Truth, measure_truth
from exporter.packages.manifest import PackageManifest
from exporter.packages.ollama.packager import PACKAGER
from exporter.packages.sums import SUMS_NAME, write_sums
from exporter.packages.verdict import PackageVerdict
from exporter.records import write_json
from exporter.registry import PACKAGES, resolve
from exporter.runtimes.encoder import Encoder
from exporter.space import Probe, Probes
from exporter.vectors.probes import measure_probes


@cache
def _truth(folder: Path, prompts: Prompts) -> Truth:
    return measure_truth(read_checkpoint(folder, prompts=prompts))


def golden_of(encoder: Encoder, checkpoint: Checkpoint) -> Golden:
    """Return golden vectors of an encoder, torch run once a checkpoint."""
    return build_golden(encoder, _truth(checkpoint.path, checkpoint.prompts))


def evidence_of(encoder: Encoder, checkpoint: Checkpoint) -> tuple[Golden, Probes]:
    """Return golden vectors and probes of an encoder."""
    golden = golden_of(encoder, checkpoint)
    limit = golden.limit_of
    return golden, measure_probes(encoder, checkpoint.prompts, tolerance=limit, source="measured")


ANY_PROBES = Probes(
    width=1,
    tolerance_from="measured",
    query=(Probe(text="押金", vector=(1.0,), tolerance=1e-4),),
    document=(Probe(text="押金", vector=(1.0,), tolerance=1e-4),),
)
"""For packages whose space no test looks at."""


def package_ollama(
    artifact: Path,
    output: Path,
    *,
    checkpoint: Checkpoint,
    verdict: PackageVerdict,
    golden: Golden,
    probes: Probes | None = None,
    force: bool = False,
) -> PackageManifest:
    judged = Judged(artifact, verdict, golden, probes or ANY_PROBES)
    return assemble(PACKAGER, [judged], output, checkpoint=checkpoint, force=force)


def files_of(folder: Path) -> list[Path]:
    """Return every file of a package but what Python and a test's run left there."""
    return [p for p in folder.rglob("*") if p.is_file() and p.parent.name != "__pycache__"]


def seal(folder: Path) -> None:
    """Make the manifest's hashes and SHA256SUMS anew, as someone who changed a package would."""
    path = folder / MANIFEST_NAME
    (folder / SUMS_NAME).unlink(missing_ok=True)
    manifest = PackageManifest.model_validate_json(path.read_bytes())
    write_json(path, manifest.model_copy(update={"files": describe_files(folder)}))
    write_sums(folder)


PASS = PackageVerdict(verdict="pass", corpus="c", corpus_sha256="0" * 64, cosine_minimum=0.9)


def judged_onnx(
    checkpoint: Checkpoint, folder: Path, *, quant: str, flavour: str = "web"
) -> Judged:
    """Export an artifact that passed."""
    from exporter.formats.onnx.export import export_onnx
    from exporter.formats.onnx.runtime import OnnxEncoder

    export_onnx(checkpoint, folder, scheme=quant, flavour=flavour)
    return Judged(folder, PASS, *evidence_of(OnnxEncoder(folder, threads=1), checkpoint))


def package_transformersjs(
    artifacts: list[Judged],
    output: Path,
    *,
    checkpoint: Checkpoint,
    npm: Path | None,
    articles: Sequence[tuple[str, str, str]] | None = None,
) -> Path:
    """Write a package of `artifacts`, with the page where `npm` holds transformers.js."""
    from exporter.packages.transformersjs import packager as transformersjs

    settings = {"node_modules": npm, "articles": articles} if npm else {}
    assemble(transformersjs.PACKAGER, artifacts, output, checkpoint=checkpoint, settings=settings)
    return output


def package_onnx(
    name: str, artifacts: list[Judged], output: Path, *, checkpoint: Checkpoint
) -> Path:
    """Write the package `name` of ONNX artifacts that passed."""
    packager = resolve(PACKAGES, name, what="package")
    assemble(packager, artifacts, output, checkpoint=checkpoint)
    return output
