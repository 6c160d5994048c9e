"""Verdicts by way of deployment, turned into what a developer may do with each file."""

from collections.abc import Mapping, Sequence

from exporter.format import all_formats
from exporter.parity.results import ArtifactResult, ParityReport
from exporter.parity.ways import _listed, may
from exporter.recipe import Way
from exporter.records import Record
from exporter.report.uses import use_of


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


AS_GOOD = 0.01
"""How much less of fp32's first ten than torch bf16 a recommended file may find again: one document
in a hundred. Smaller files that passed and lose more are named beside it."""
WORDS: Mapping[str, str] = {
    "cosine 1st percentile": "its vectors lie too far from the original's",
    "overlap@10": "it finds other articles than the original too often",
    "lies beyond": "it loses right answers",
    "reaches past": "whether it loses right answers is not proven by so few questions",
    "depends on the other texts": "its vectors change with the other texts of a batch",
    "padding moves": "its vectors change with padding",
    "token ids": "it reads texts as other tokens than the original",
    "not finite": "some of its vectors are not finite",
}
"""What a reason says, by a part of it, for people who do not read figures."""


def recommend(report: ParityReport) -> tuple[Sentence, ...]:
    """Return one sentence a use that the report has files for: which to take.

    The smallest that passed and is nearly as good as torch bf16, on an index that exists before one
    of its own; where none is that good, the best that passed.
    """
    found = []
    by_use: dict[str, list[ArtifactResult]] = {}
    for artifact in report.artifacts:
        where = use_of(artifact.kind, flavour=artifact.flavour).where
        by_use.setdefault(where, []).append(artifact)
    for where in sorted(by_use, key=lambda name: (_order(by_use[name]), name)):
        found.append(Sentence(lead=where, rest=_recommended(by_use[where], report)))
    return tuple(found)


def _order(files: Sequence[ArtifactResult]) -> int:
    """Return the place of a use among others: as formats are listed."""
    return [found.name for found in all_formats()].index(files[0].kind)


def _recommended(files: Sequence[ArtifactResult], report: ParityReport) -> str:
    ways: tuple[Way, ...] = ("queries", "both")
    usable = sorted(
        (a for a in files if a.dims and any(may(a, a.dims[0], way) for way in ways)),
        key=lambda a: (not may(a, a.dims[0], "queries"), a.size_bytes, a.name),
    )
    if not usable:
        words = {
            "fail": "failed",
            "undecided": "is undecided",
            "pass": "passed only with the original's questions",
        }
        said = [f"{a.name} {words[a.verdict]}" for a in files]
        return f"no file is proven: {_listed(said)}."
    good = [a for a in usable if _as_good(a, report)]
    taken = good[0] if good else max(usable, key=_overlap)
    where = (
        "its questions also search the index you have"
        if may(taken, taken.dims[0], "queries")
        else "embed all documents again with it"
    )
    smaller = [a for a in usable if a.size_bytes < taken.size_bytes]
    beside = ""
    if smaller:
        least = min(smaller, key=lambda a: a.size_bytes)
        beside = (
            f" Smaller: {least.name} ({megabytes(least)}), which finds {_overlap(least):.0%} of "
            f"the same first ten instead of {_overlap(taken):.0%}."
        )
    return f"take {taken.name} ({megabytes(taken)}); {where}.{beside}"


def _as_good(artifact: ArtifactResult, report: ParityReport) -> bool:
    widest = artifact.dims[0].dim
    floor = next((f for f in report.noise_floor if f.dim == widest), None)
    return floor is None or (_overlap(artifact) >= floor.deployed("both").overlap_at_10 - AS_GOOD)


def _overlap(artifact: ArtifactResult) -> float:
    return artifact.dims[0].deployed("both").overlap_at_10.mean


def three_sentences(report: ParityReport) -> tuple[Sentence, Sentence, Sentence]:
    """Return what may replace the original on an index that exists, what needs a new index, and
    what must not be used."""
    advice = advise(report)
    by_name = {a.name: a for a in report.artifacts}
    return (
        _existing(advice.existing_index, report),
        _new(advice, by_name),
        _refused(advice.refused, by_name),
    )


Artifacts = dict[str, ArtifactResult]


def _existing(names: Sequence[str], report: ParityReport) -> Sentence:
    lead = "With the index you have"
    if not names:
        return Sentence(
            lead=lead,
            rest=f"no file here may replace {report.model_name}: none is proven to find in an "
            "index made by the original what the original finds.",
        )
    return Sentence(
        lead=lead,
        rest=f"{_listed(names)} may replace {report.model_name} for questions; the documents' "
        "vectors stay.",
    )


def _new(advice: Advice, by_name: Artifacts) -> Sentence:
    lead = "With a new index"
    if advice.new_index:
        only = (
            "is proven only on an index of its own"
            if len(advice.new_index) == 1
            else "are proven only on indexes of their own"
        )
        return Sentence(
            lead=lead,
            rest=f"{_listed(advice.new_index)} {only}: embed all documents again with the same "
            "file that embeds the questions.",
        )
    both = [n for n in advice.existing_index if may(by_name[n], by_name[n].dims[0], "both")]
    if not both:
        return Sentence(lead=lead, rest="no file here is proven on an index of its own.")
    every = len(both) == len(advice.existing_index)
    said = "all of these" if every else _listed(both)
    return Sentence(lead=lead, rest=f"{said} may embed documents and questions alike.")


def _refused(names: Sequence[str], by_name: Artifacts) -> Sentence:
    lead = "Do not use"
    if not names:
        return Sentence(lead=lead, rest="nothing to warn of: every file of this report passed.")
    said = "; ".join(f"{name}: {why_refused(by_name[name])}" for name in names)
    return Sentence(lead=lead, rest=said + ".")


def why_refused(artifact: ArtifactResult) -> str:
    """Return in words why an artifact may not be used."""
    if artifact.verdict == "pass":
        return "it passed only with the original's questions on its index"
    words = [
        next((said for part, said in WORDS.items() if part in reason), reason)
        for reason in artifact.reasons
    ]
    return " and ".join(dict.fromkeys(words)) or f"its verdict is {artifact.verdict}"


def megabytes(artifact: ArtifactResult) -> str:
    """Return `5.3 MB`."""
    return f"{artifact.size_bytes / 1e6:,.1f} MB"
