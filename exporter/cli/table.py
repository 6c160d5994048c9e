"""What `parity` and `release` print: which file to take, why, and then the figures."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from exporter.cli.console import open_console, styled
from exporter.parity.measured import Difference
from exporter.parity.results import ParityReport
from exporter.report.advice import recommend, three_sentences
from exporter.report.markdown import show_multiple, show_power
from exporter.report.pool_words import show_size
from exporter.report.words import Words

STYLE = {"pass": "green", "fail": "red", "undecided": "yellow"}
NARROW, WIDEST = 80, 400


def print_verdicts(report: ParityReport, words: Words) -> None:
    """Print on stdout which file is for which use, what may be done with each, one line an artifact
    and dim, and every reason of a closed gate."""
    console = open_console()
    for sentence in (*recommend(report, words), *three_sentences(report, words)):
        lead = styled(f"{sentence.lead}:", "bold")
        console.print(lead, sentence.rest, highlight=False, soft_wrap=True)
    console.print()
    asked = f"{report.questions:,} question" + "s" * (report.questions != 1)
    table = Table(
        title=f"{report.model_name} on {report.corpus}: {show_size(report)}, {asked}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for heading, justify in (
        ("file", "left"),
        ("MB", "right"),
        ("dim", "right"),
        ("error", "right"),
        ("MRR@10 lost or won [95 %]", "left"),
        ("overlap", "right"),
        ("verdict", "left"),
    ):
        table.add_column(heading, no_wrap=True, justify=justify)  # type: ignore[arg-type]
    for floor in report.noise_floor:
        noise = floor.deployed("both")
        table.add_row(
            "torch bf16",
            "",
            str(floor.dim),
            "1.0 x",
            short(noise.mrr_difference),
            f"{noise.overlap_at_10:.3f}",
            "the unit",
            style="dim",
        )
    for artifact in report.artifacts:
        for i, d in enumerate(artifact.dims):
            both = d.deployed("both")
            table.add_row(
                artifact.name if i == 0 else "",
                f"{artifact.size_bytes / 1e6:.0f}" if i == 0 else "",
                str(d.dim),
                show_multiple(d.error_over_noise),
                short(both.differences.mrr_at_10),
                f"{both.overlap_at_10.mean:.3f}",
                styled(d.verdict, STYLE[d.verdict]),
            )
    print_whole(console, table)
    if report.noise_floor:
        console.print(
            "All is against torch fp32, its questions on its index. 'error': the median of "
            "1 - cosine, in multiples of torch bf16's.",
            highlight=False,
            soft_wrap=True,
        )
    for line in _powers(report):
        console.print(line, highlight=False, soft_wrap=True)
    for artifact in report.artifacts:
        for reason in artifact.reasons:
            console.print(
                f"{artifact.name} {artifact.verdict}: {reason}", highlight=False, soft_wrap=True
            )


def print_whole(console: Console, table: Table) -> None:
    """Print a table with no figure cut: where names are long it is wider than the window."""
    whole = console.measure(table, options=console.options.update(width=WIDEST)).maximum
    console.width = max(console.width, whole)
    console.print(table, highlight=False)


def short(difference: Difference) -> str:
    """Return `-.0012 [-.0051, +.0024]`."""
    mean, low, high = (
        f"{v:+.4f}".replace("0.", ".", 1)
        for v in (difference.mean, difference.low, difference.high)
    )
    return f"{mean} [{low}, {high}]"


def _powers(report: ParityReport) -> Iterator[str]:
    """Yield what so many questions can prove, once where it is the same for several files."""
    said: dict[str, list[str]] = {}
    for artifact in report.artifacts:
        if artifact.dims:
            said.setdefault(show_power(artifact.dims[0].power), []).append(artifact.name)
    for power, names in said.items():
        yield power if len(said) == 1 else f"{', '.join(names)}: {power}"
