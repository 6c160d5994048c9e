"""Verdicts by way of deployment, turned into what a developer may do with each file."""

from collections.abc import Mapping, Sequence

from exporter.format import all_formats
from exporter.parity.results import ArtifactResult, ParityReport
from exporter.parity.ways import may
from exporter.recipe import Way
from exporter.records import Record
from exporter.report.uses import use_of
from exporter.report.words import ENGLISH, Words


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
REASONS: Mapping[str, str] = {
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
UNPROVEN = (
    "not proven on real weights: its scheme was measured on no real weights of this model family; "
    "what this report says of it holds for this corpus alone"
)
"""Of an artifact whose family never met real weights."""
NOT_USABLE: Mapping[str, str] = {
    "fail": "%(name)s failed",
    "undecided": "%(name)s is undecided",
    "pass": "%(name)s passed only with the original's questions",
}


def recommend(report: ParityReport, _: Words = ENGLISH) -> tuple[Sentence, ...]:
    """Return one sentence a use that the report has files for: which to take.

    The smallest that passed and is nearly as good as torch bf16, on an index that exists before one
    of its own; where none is that good, the best that passed. None whose scheme was never measured
    on real weights of the family.
    """
    found = []
    by_use: dict[str, list[ArtifactResult]] = {}
    for artifact in report.artifacts:
        where = use_of(artifact.format, flavour=artifact.flavour).where
        by_use.setdefault(where, []).append(artifact)
    for where in sorted(by_use, key=lambda name: (_order(by_use[name]), name)):
        found.append(Sentence(lead=_(where), rest=_recommended(by_use[where], report, _)))
    return tuple(found)


def _order(files: Sequence[ArtifactResult]) -> int:
    """Return the place of a use among others: as formats are listed."""
    return [found.name for found in all_formats()].index(files[0].format)


def _recommended(files: Sequence[ArtifactResult], report: ParityReport, _: Words) -> str:
    ways: tuple[Way, ...] = ("queries", "both")
    usable = sorted(
        (a for a in files if a.dims and any(may(a, a.dims[0], way) for way in ways)),
        key=lambda a: (not may(a, a.dims[0], "queries"), a.size_bytes, a.name),
    )
    unproven = [a.name for a in usable if a.unproven]
    usable = [a for a in usable if not a.unproven]
    if unproven and not usable:
        return _(
            "none is recommended: %(files)s passed on this corpus, but not proven on real weights "
            "of this model family.",
            files=_.listed(unproven),
        )
    if not usable:
        said = [_(NOT_USABLE[a.verdict], name=a.name) for a in files]
        return _("no file is proven: %(files)s.", files=_.listed(said))
    good = [a for a in usable if _as_good(a, report)]
    taken = good[0] if good else max(usable, key=_overlap)
    where = (
        _("its questions also search the index you have")
        if may(taken, taken.dims[0], "queries")
        else _("embed all documents again with it")
    )
    smaller = [a for a in usable if a.size_bytes < taken.size_bytes]
    beside = ""
    if smaller:
        least = min(smaller, key=lambda a: a.size_bytes)
        beside = _(
            " Smaller: %(name)s (%(size)s), which finds %(finds)s of the same first ten instead of "
            "%(instead)s.",
            name=least.name,
            size=megabytes(least),
            finds=f"{_overlap(least):.0%}",
            instead=f"{_overlap(taken):.0%}",
        )
    return (
        _(
            "take %(name)s (%(size)s); %(where)s.",
            name=taken.name,
            size=megabytes(taken),
            where=where,
        )
        + beside
    )


def _as_good(artifact: ArtifactResult, report: ParityReport) -> bool:
    widest = artifact.dims[0].dim
    floor = next((f for f in report.noise_floor if f.dim == widest), None)
    return floor is None or (_overlap(artifact) >= floor.deployed("both").overlap_at_10 - AS_GOOD)


def _overlap(artifact: ArtifactResult) -> float:
    return artifact.dims[0].deployed("both").overlap_at_10.mean


def three_sentences(
    report: ParityReport, _: Words = ENGLISH
) -> tuple[Sentence, Sentence, Sentence]:
    """Return what may replace the original on an index that exists, what needs a new index, and
    what must not be used."""
    advice = advise(report)
    by_name = {a.name: a for a in report.artifacts}
    return (
        _existing(advice.existing_index, report, _),
        _new(advice, by_name, _),
        _refused(advice.refused, by_name, _),
    )


Artifacts = dict[str, ArtifactResult]


def _existing(names: Sequence[str], report: ParityReport, _: Words) -> Sentence:
    lead, model = _("With the index you have"), report.model_name
    if not names:
        none = _(
            "no file here may replace %(model)s: none is proven to find in an index made by the "
            "original what the original finds.",
            model=model,
        )
        return Sentence(lead=lead, rest=none)
    may_replace = _(
        "%(files)s may replace %(model)s for questions; the documents' vectors stay.",
        files=_.listed(names),
        model=model,
    )
    by_name = {a.name: a for a in report.artifacts}
    return Sentence(lead=lead, rest=may_replace + _caution(names, by_name, _))


def _caution(names: Sequence[str], by_name: Artifacts, _: Words) -> str:
    """Return what must be added where files are named that no real weights proved."""
    unproven = [name for name in names if by_name[name].unproven]
    if not unproven:
        return ""
    return _(" Not proven on real weights: %(files)s.", files=_.listed(unproven))


def _new(advice: Advice, by_name: Artifacts, _: Words) -> Sentence:
    lead = _("With a new index")
    if advice.new_index:
        only = _.plural(
            "%(files)s is proven only on an index of its own: embed all documents again with the "
            "same file that embeds the questions.",
            "%(files)s are proven only on indexes of their own: embed all documents again with the "
            "same file that embeds the questions.",
            len(advice.new_index),
            files=_.listed(advice.new_index),
        )
        return Sentence(lead=lead, rest=only + _caution(advice.new_index, by_name, _))
    both = [n for n in advice.existing_index if may(by_name[n], by_name[n].dims[0], "both")]
    if not both:
        return Sentence(lead=lead, rest=_("no file here is proven on an index of its own."))
    every = len(both) == len(advice.existing_index)
    said = _("all of these") if every else _.listed(both)
    alike = _("%(files)s may embed documents and questions alike.", files=said)
    return Sentence(lead=lead, rest=alike)


def _refused(names: Sequence[str], by_name: Artifacts, _: Words) -> Sentence:
    lead = _("Do not use")
    if not names:
        nothing = _("nothing to warn of: every file of this report passed.")
        return Sentence(lead=lead, rest=nothing)
    said = [_("%(name)s: %(why)s", name=name, why=why_refused(by_name[name], _)) for name in names]
    return Sentence(lead=lead, rest=_("; ").join(said) + _("."))


def why_refused(artifact: ArtifactResult, _: Words = ENGLISH) -> str:
    """Return in words why an artifact may not be used."""
    if artifact.verdict == "pass":
        return _("it passed only with the original's questions on its index")
    said = [
        next((_(said) for part, said in REASONS.items() if part in reason), reason)
        for reason in artifact.reasons
    ]
    return _(" and ").join(dict.fromkeys(said)) or _(
        "its verdict is %(verdict)s", verdict=_(artifact.verdict)
    )


def megabytes(artifact: ArtifactResult) -> str:
    """Return `5.3 MB`."""
    return f"{artifact.size_bytes / 1e6:,.1f} MB"
