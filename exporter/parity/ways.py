"""What an artifact may do in each way of deployment, over all dims."""

from collections.abc import Sequence

from exporter.parity.measured import DimResult
from exporter.parity.results import ArtifactResult
from exporter.recipe import Way


def may(artifact: ArtifactResult, d: DimResult, way: Way) -> bool:
    """Return whether the artifact passed, and its MRR@10 in this way too, at this dim."""
    return artifact.verdict == "pass" and d.deployed(way).verdict == "pass"


def way_verdict(artifact: ArtifactResult, way: Way) -> str:
    """Return the verdict on one way of deployment over all dims, in words: `pass`, `pass at 768 and
    512, undecided at 256`, or `no usable vectors`."""
    by_verdict: dict[str, list[str]] = {}
    for d in artifact.dims:
        by_verdict.setdefault(d.deployed(way).verdict, []).append(f"{d.dim}")
    if not by_verdict:
        return "no usable vectors"
    if len(by_verdict) == 1:
        return next(iter(by_verdict))
    return ", ".join(f"{verdict} at {_listed(dims)}" for verdict, dims in by_verdict.items())


def dims_of(artifact: ArtifactResult, way: Way) -> tuple[int, ...]:
    """Return the dims at which the artifact may be used in this way."""
    return tuple(d.dim for d in artifact.dims if may(artifact, d, way))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
