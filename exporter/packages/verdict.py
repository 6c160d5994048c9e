"""May this artifact be packaged? The verdict is looked up by the hash of its manifest."""

from pathlib import Path
from typing import Literal

from exporter.errors import BadInput, GateClosed
from exporter.hashing import sha256_file
from exporter.manifest import MANIFEST_NAME, read_manifest
from exporter.parity.results import ParityReport
from exporter.parity.ways import way_verdict
from exporter.records import Record


class PackageVerdict(Record):
    """What a package says about the proof behind it. `none`: never judged."""

    verdict: Literal["pass", "fail", "undecided", "none"]
    reasons: tuple[str, ...] = ()
    override_reason: str | None = None
    corpus: str | None = None
    corpus_sha256: str | None = None
    pooled: str | None = None
    """How much of the corpus was judged, where that was a pool of it."""
    new_index: str | None = None
    """The verdict, in words, on an index that the artifact makes itself."""
    existing_index: str | None = None
    """And on an index that the original made."""
    cosine_minimum: float | None = None
    """The least cosine to the fp32 reference in the report, at the full dim."""
    unproven: bool = False
    """Whether its scheme was measured on no real weights of its model family."""


def verdict_of(
    artifact: Path, report: ParityReport | None, *, override_reason: str | None = None
) -> PackageVerdict:
    """Return the verdict of `report` on exactly these bytes. Raises BadInput for an empty
    override reason."""
    if override_reason is not None and not override_reason.strip():
        raise BadInput("--override-verdict needs a reason; it will stand in the package")
    unproven = read_manifest(artifact).unproven
    result = report.of_manifest(sha256_file(artifact / MANIFEST_NAME)) if report else None
    if report is None or result is None:
        reason = "no parity report" if report is None else "the report is on other bytes"
        return PackageVerdict(
            verdict="none", reasons=(reason,), override_reason=override_reason, unproven=unproven
        )
    return PackageVerdict(
        verdict=result.verdict,
        reasons=result.reasons,
        override_reason=None if result.verdict == "pass" else override_reason,
        corpus=report.corpus,
        corpus_sha256=report.corpus_sha256,
        pooled=_pooled(report),
        new_index=way_verdict(result, "both"),
        existing_index=way_verdict(result, "queries"),
        cosine_minimum=result.dims[0].cosine.minimum if result.dims else None,
        unproven=unproven,
    )


def check_verdict(verdict: PackageVerdict, artifact: Path) -> None:
    """Raise GateClosed for anything but a pass, unless a reason overrides it."""
    if verdict.verdict != "pass" and verdict.override_reason is None:
        said = "was never judged" if verdict.verdict == "none" else f"is {verdict.verdict}"
        raise GateClosed(
            f"'{artifact}' {said} ({'; '.join(verdict.reasons)}); run 'lawvault parity {artifact}'"
            " and pass its limits, or package it with --override-verdict REASON"
        )


def _pooled(report: ParityReport) -> str | None:
    """Return how many documents the pool holds; None where all were searched."""
    if report.pool is None:
        return None
    return f"pooled: {report.pool.documents:,} of {report.documents:,} documents"
