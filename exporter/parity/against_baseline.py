"""Is a release worse than the last one, beyond what noise moves? From two reports alone."""

from collections.abc import Iterator
from typing import Literal

from exporter.errors import BadInput
from exporter.parity.measured import DimResult, Interval
from exporter.parity.results import ArtifactResult, NoiseFloor, ParityReport
from exporter.records import Record

GROWN, UNITS = 1.25, 0.25
"""An error has grown where it is a quarter larger and a quarter of torch bf16's own error larger:
other kernels of one file move its median by a few per cent."""
Measure = Literal["verdict", "error", "error p99", "overlap@10", "MRR@10", "MRR@10, old index"]


class Change(Record):
    """One figure of one artifact, before and now. `noise`: how much of a change says nothing; None
    for a verdict. Errors are multiples of torch bf16's, MRR@10 is the difference to fp32's."""

    artifact: str
    dim: int | None
    measure: Measure
    before: float | str
    now: float | str
    noise: float | None
    worse: bool


class Regression(Record):
    """A release against the last one. `gone`: artifacts that passed then and are not there now."""

    model_name: str
    baseline_name: str
    same_checkpoint: bool
    corpus: str
    changes: tuple[Change, ...]
    gone: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def worse(self) -> tuple[Change, ...]:
        """Return what became worse beyond noise."""
        return tuple(change for change in self.changes if change.worse)

    @property
    def closed(self) -> bool:
        """Return whether the gate is closed: something became worse, or is gone."""
        return bool(self.worse or self.gone)


def against_baseline(report: ParityReport, baseline: ParityReport) -> Regression:
    """Compare artifacts of one name at each dim that both reports have.

    Both checkpoints may differ: every figure is to its own checkpoint in fp32. Raises BadInput for
    reports on other documents or questions.
    """
    if report.corpus_sha256 != baseline.corpus_sha256:
        raise BadInput(
            f"the reports are on {report.corpus} ({report.corpus_sha256[:12]}) and "
            f"{baseline.corpus} ({baseline.corpus_sha256[:12]}): figures on other questions do not "
            "compare; judge the last release on the corpus of today"
        )
    old = {artifact.name: artifact for artifact in baseline.artifacts}
    new = {artifact.name: artifact for artifact in report.artifacts}
    return Regression(
        model_name=report.model_name,
        baseline_name=baseline.model_name,
        same_checkpoint=report.checkpoint_files == baseline.checkpoint_files,
        corpus=report.corpus,
        changes=tuple(
            change
            for name in new
            if name in old
            for change in _changes(new[name], old[name], report, baseline)
        ),
        gone=tuple(n for n, a in old.items() if n not in new and a.verdict == "pass"),
        added=tuple(name for name in new if name not in old),
    )


def _changes(
    now: ArtifactResult, before: ArtifactResult, report: ParityReport, baseline: ParityReport
) -> Iterator[Change]:
    yield Change(
        artifact=now.name,
        dim=None,
        measure="verdict",
        before=before.verdict,
        now=now.verdict,
        noise=None,
        worse=before.verdict == "pass" and now.verdict != "pass",
    )
    dims = {found.dim: found for found in before.dims}
    for found in now.dims:
        if found.dim not in dims:
            continue
        units = _floor(report, found.dim), _floor(baseline, found.dim)
        for measure, ours, theirs, noise, sign in _figures(found, dims[found.dim], *units):
            yield Change(
                artifact=now.name,
                dim=found.dim,
                measure=measure,
                before=theirs,
                now=ours,
                noise=noise,
                worse=sign * (ours - theirs) > noise,
            )


def _floor(report: ParityReport, dim: int) -> NoiseFloor | None:
    return next((floor for floor in report.noise_floor if floor.dim == dim), None)


def _figures(
    now: DimResult, before: DimResult, unit: NoiseFloor | None, old_unit: NoiseFloor | None
) -> Iterator[tuple[Measure, float, float, float, int]]:
    """Yield (measure, now, before, noise, 1 where more is worse, else -1)."""
    if now.error_over_noise is not None and before.error_over_noise is not None:
        ours, theirs = now.error_over_noise, before.error_over_noise
        yield "error", ours, theirs, _room(theirs), 1
    if unit is not None and old_unit is not None:
        own, old = 1 - unit.cosine.p1, 1 - old_unit.cosine.p1
        if own > 0 and old > 0:
            ours, theirs = (1 - now.cosine.p1) / own, (1 - before.cosine.p1) / old
            yield "error p99", ours, theirs, _room(theirs), 1
    for way, named in (("both", "MRR@10"), ("queries", "MRR@10, old index")):
        a, b = now.deployed(way), before.deployed(way)  # type: ignore[arg-type]
        one, other = a.differences.mrr_at_10, b.differences.mrr_at_10
        noise = _together(one.high - one.low, other.high - other.low)
        yield named, one.mean, other.mean, noise, -1  # type: ignore[misc]
        if way == "both":
            noise = _together(_width(a.overlap_at_10), _width(b.overlap_at_10))
            yield "overlap@10", a.overlap_at_10.mean, b.overlap_at_10.mean, noise, -1


def _room(error: float) -> float:
    """Return by how much an error may grow and say nothing."""
    return max((GROWN - 1) * error, UNITS)


def _width(interval: Interval) -> float:
    return interval.high - interval.low


def _together(one: float, other: float) -> float:
    """Return half the width of the 95 % interval of a difference of two means with these widths, as
    if they were drawn independently: the same questions make it narrower, never wider."""
    return 0.5 * float((one**2 + other**2) ** 0.5)
