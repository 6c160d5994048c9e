"""The table of verdicts, as `parity` and `release` print it."""

from rich.console import Console
from rich.table import Table

from exporter.parity.markdown import show_difference, show_multiple, show_power
from exporter.parity.pool_words import show_size
from exporter.parity.records import ParityReport

WIDEST = 400
STYLE = {"pass": "green", "fail": "red", "undecided": "yellow"}


def print_verdicts(report: ParityReport) -> None:
    """Print one line an artifact and dim on stdout, then every reason of a closed gate."""
    console = Console()
    table = Table(title=f"{report.model_name} on {report.corpus}: {show_size(report)}, "
                  f"{report.questions:,} questions")  # fmt: skip
    for heading in ("artifact", "MB", "dim", "cosine p1", "error", "MRR@10",
                    "difference [95 %]", "overlap@10", "verdict"):  # fmt: skip
        table.add_column(heading, no_wrap=True)
    for floor in report.noise_floor:
        table.add_row(
            "torch bf16", "", str(floor.dim), f"{floor.cosine.p1:.6f}",
            "1.0 x", f"{floor.mrr_at_10_bf16:.4f}",
            show_difference(floor.deployed("both").mrr_difference),
            f"{floor.deployed('both').overlap_at_10:.3f}", "the unit", style="dim",
        )  # fmt: skip
    for artifact in report.artifacts:
        table.add_section()
        for i, d in enumerate(artifact.dims):
            both = d.deployed("both")
            table.add_row(
                artifact.name if i == 0 else "",
                f"{artifact.size_bytes / 1e6:.1f}" if i == 0 else "",
                str(d.dim), f"{d.cosine.p1:.6f}", show_multiple(d.error_over_noise),
                f"{both.metrics.mrr_at_10:.4f}", show_difference(both.differences.mrr_at_10),
                f"{both.overlap_at_10.mean:.3f}",
                f"[{STYLE[d.verdict]}]{d.verdict}[/]",
            )  # fmt: skip
    # A narrow terminal must not cut figures: the table may be wider than the window.
    whole = console.measure(table, options=console.options.update(width=WIDEST)).maximum
    console.width = max(console.width, whole)
    console.print(table, highlight=False)
    if report.noise_floor:
        console.print("error: median of 1 - cosine to torch fp32, as a multiple of torch bf16's",
                      highlight=False)  # fmt: skip
    for artifact in report.artifacts:
        if artifact.dims:
            console.print(f"{artifact.name}: {show_power(artifact.dims[0].power)}",
                          highlight=False, soft_wrap=True)  # fmt: skip
    for artifact in report.artifacts:
        for reason in artifact.reasons:
            console.print(f"{artifact.name} {artifact.verdict}: {reason}", highlight=False,
                          markup=False, soft_wrap=True)  # fmt: skip
