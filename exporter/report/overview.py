"""index.html: one page for a whole release, for those who only want the right file."""

from collections.abc import Sequence

from exporter.manifest import Manifest
from exporter.parity.results import ParityReport
from exporter.records import Record
from exporter.report.advice import recommend, three_sentences
from exporter.report.html import count_sentence, page_environment
from exporter.report.pool_words import show_size
from exporter.report.uses import good_for, runs_in
from exporter.report.words import ENGLISH, Words

INDEX_NAME = "index.html"


class Speed(Record):
    """How fast an artifact was on one machine. `machine` and `threads` are the same for all."""

    tokens_per_second: float
    """In batches of eight texts of 128 tokens."""
    milliseconds: float
    """For one text of 24 tokens."""
    load_seconds: float
    peak_memory_bytes: int


class Offer(Record):
    """One artifact on the page. Paths are relative to it, with forward slashes."""

    name: str
    manifest: Manifest
    packages: tuple[str, ...]
    """Folders of its packages."""
    speed: Speed | None = None


def render_overview(
    report: ParityReport,
    offers: Sequence[Offer],
    *,
    closed: Sequence[str],
    machine: str | None,
    words: Words = ENGLISH,
) -> str:
    """Return the page. Same input, same bytes.

    `closed`: names of required artifacts that did not pass; `machine`: where speeds were measured.
    An offer's name is its folder beside the page, and that of its result in the report.
    """
    by_name = {a.name: a for a in report.artifacts}
    ordered = sorted(offers, key=lambda o: (by_name[o.name].size_bytes, o.name))
    return (
        page_environment(words)
        .get_template("overview.html.j2")
        .render(
            report=report,
            offers=ordered,
            results=by_name,
            closed=closed,
            machine=machine,
            verdict=count_sentence(report, words),
            recommended=recommend(report, words),
            sentences=three_sentences(report, words),
            size=show_size(report, words),
            runs_in=lambda format, flavour: words(runs_in(format, flavour=flavour)),
            good_for=lambda scheme: words(good_for(scheme)),
        )
    )
