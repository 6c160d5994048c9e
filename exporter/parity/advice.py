"""Verdicts by way of deployment, turned into what a developer may do with each file."""

from collections.abc import Sequence

from exporter.parity.records import ArtifactResult, DimResult, ParityReport
from exporter.recipe import Way
from exporter.records import Record


class Sentence(Record):
    """`lead` says the situation, `rest` what may be done in it."""

    lead: str
    rest: str


class Advice(Record):
    """Names of artifacts, the smallest first; each stands in exactly one of the three.

    `existing_index`: may embed queries for an index that the checkpoint made in torch.
    `new_index`: may be used once it has embedded all documents again. `refused`: neither is proven.
    """

    existing_index: tuple[str, ...]
    new_index: tuple[str, ...]
    refused: tuple[str, ...]


def advise(report: ParityReport) -> Advice:
    """Return what may be done with each artifact, at the widest dim that was judged.

    An artifact that did not pass may be used for nothing, whatever one of its ways shows: a limit
    on its vectors is closed, or the proof is missing.
    """
    groups: tuple[list[str], list[str], list[str]] = ([], [], [])
    for artifact in sorted(report.artifacts, key=lambda a: (a.size_bytes, a.name)):
        widest = artifact.dims[0] if artifact.dims else None
        if widest is not None and may(artifact, widest, "queries"):
            groups[0].append(artifact.name)
        elif widest is not None and may(artifact, widest, "both"):
            groups[1].append(artifact.name)
        else:
            groups[2].append(artifact.name)
    existing, new, refused = map(tuple, groups)
    return Advice(existing_index=existing, new_index=new, refused=refused)


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


def three_sentences(report: ParityReport) -> tuple[Sentence, Sentence, Sentence]:
    """Return what may replace the original on an index that exists, what needs a new index, and
    what must not be used."""
    advice = advise(report)
    by_name = {a.name: a for a in report.artifacts}
    return (
        _existing(advice.existing_index, by_name, report),
        _new(advice, by_name),
        _refused(advice.refused, by_name),
    )


Artifacts = dict[str, ArtifactResult]


def _existing(names: Sequence[str], by_name: Artifacts, report: ParityReport) -> Sentence:
    lead = "With the index you have"
    if not names:
        return Sentence(
            lead=lead,
            rest=f"no file here may replace {report.model_name}: none is proven to find in an "
            "index made by the original what the original finds.",
        )  # fmt: skip
    best = by_name[names[0]]
    widest = best.dims[0]
    others = f" So may {_listed(names[1:])}." if names[1:] else ""
    return Sentence(
        lead=lead,
        rest=f"{best.name} ({megabytes(best)}) may replace {report.model_name}: its queries on an "
        f"index made by the original keep MRR@10 within {widest.deployed('queries').margin:.3g} at "
        f"dim {widest.dim} (95 %).{others}",
    )  # fmt: skip


def _new(advice: Advice, by_name: Artifacts) -> Sentence:
    lead = "With a new index"
    if advice.new_index:
        named = _listed([f"{n} ({megabytes(by_name[n])})" for n in advice.new_index])
        only = ("is proven only on an index of its own" if len(advice.new_index) == 1
                else "are proven only on indexes of their own")  # fmt: skip
        return Sentence(
            lead=lead,
            rest=f"{named} {only}: embed all documents again with the same file that embeds the "
            "queries.",
        )
    both = [n for n in advice.existing_index if may(by_name[n], by_name[n].dims[0], "both")]
    if not both:
        return Sentence(lead=lead, rest="no file here is proven on an index of its own.")
    return Sentence(
        lead=lead,
        rest=f"{_listed(both)} may embed documents and queries; no file that passed forces you "
        "to embed documents again.",
    )  # fmt: skip


def _refused(names: Sequence[str], by_name: Artifacts) -> Sentence:
    lead = "Do not use"
    if not names:
        return Sentence(lead=lead, rest="no file: every one of this report passed.")
    said = "; ".join(f"{name} ({why_refused(by_name[name])})" for name in names)
    return Sentence(lead=lead, rest=said + ".")


def why_refused(artifact: ArtifactResult) -> str:
    """Return the verdict and its first reason, as a phrase."""
    if artifact.verdict == "pass":
        return "passed only with the original's queries on its index"
    word = {"fail": "failed", "undecided": "undecided, so not proven"}[artifact.verdict]
    return f"{word}: {artifact.reasons[0]}" if artifact.reasons else word


def megabytes(artifact: ArtifactResult) -> str:
    """Return `5.3 MB`."""
    return f"{artifact.size_bytes / 1e6:,.1f} MB"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
