"""Package artifacts that passed: verdicts looked up, golden vectors made, one folder written."""

from collections.abc import MutableMapping, Sequence
from contextlib import closing
from pathlib import Path

from exporter.checkpoint.contents import Checkpoint
from exporter.formats.open import open_artifact
from exporter.hashing import sha256_file
from exporter.manifest import MANIFEST_NAME, read_manifest
from exporter.packages.assemble import (
    Judged,
    Packager,
    Settings,
    assemble,
    check_checkpoint,
    check_taken,
    check_together,
)
from exporter.packages.golden import Golden, build_golden
from exporter.packages.golden_truth import measure_truth
from exporter.packages.manifest import PackageManifest
from exporter.packages.verdict import PackageVerdict, check_verdict, verdict_of
from exporter.parity.results import ParityReport
from exporter.recipe import Language
from exporter.registry import PACKAGES, resolve
from exporter.space import Probes
from exporter.staging import check_output
from exporter.vectors.probes import measure_probes

Goldens = MutableMapping[str, tuple[Golden, Probes]]
"""Golden vectors and probes by the hash of their artifact's manifest: made once, packaged many
times."""


def package_artifacts(
    name: str,
    folders: Sequence[Path],
    output: Path,
    *,
    checkpoint: Checkpoint,
    report: ParityReport | None,
    override_reason: str | None = None,
    force: bool = False,
    goldens: Goldens | None = None,
    settings: Settings | None = None,
    language: Language = "en",
) -> PackageManifest:
    """Write the package `name` of the artifacts in `folders` to `output`.

    Everything that may be refused is looked at before a model is loaded. `settings`: the options of
    that consumer's own. `language`: of the README. Raises GateClosed,
    BadInput, or MissingDependency without the artifacts' runtime or torch.
    """
    packager: Packager = resolve(PACKAGES, name, what="package")
    manifests = [read_manifest(folder) for folder in folders]
    verdicts: list[PackageVerdict] = []
    for folder, manifest in zip(folders, manifests, strict=True):
        check_taken(packager, folder, manifest)
        check_checkpoint(folder, manifest, checkpoint)
        verdicts.append(verdict_of(folder, report, override_reason=override_reason))
        check_verdict(verdicts[-1], folder)
    check_together(packager, folders, manifests, settings or {})
    check_output(output, force=force)
    known = goldens if goldens is not None else {}
    missing = [f for f in folders if sha256_file(f / MANIFEST_NAME) not in known]
    if missing:
        truth = measure_truth(checkpoint)
        for folder in missing:
            with closing(open_artifact(folder)) as encoder:
                golden = build_golden(encoder, truth)
                probes = measure_probes(
                    encoder, truth.prompts, tolerance=golden.limit_of, source="measured"
                )
            known[sha256_file(folder / MANIFEST_NAME)] = golden, probes
    judged = [
        Judged(folder, verdict, *known[sha256_file(folder / MANIFEST_NAME)])
        for folder, verdict in zip(folders, verdicts, strict=True)
    ]
    return assemble(
        packager,
        judged,
        output,
        checkpoint=checkpoint,
        force=force,
        settings=settings,
        language=language,
    )
