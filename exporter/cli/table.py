"""The table of verdicts, as `parity` and `release` print it."""

from rich.console import Console
from rich.table import Table

from exporter.parity.records import ParityReport

STYLE = {"pass": "green", "fail": "red", "undecided": "yellow"}


def print_verdicts(report: ParityReport) -> None:
    """Print one line an artifact and dim on stdout, then every reason of a closed gate."""
    console = Console()
    table = Table(title=f"{report.model_name} on {report.corpus}: {report.documents:,} documents, "
                  f"{report.questions:,} questions")  # fmt: skip
    for heading in ("artifact", "MB", "dim", "cosine p1", "MRR@10", "difference [95 %]",
                    "overlap@10", "verdict"):  # fmt: skip
        table.add_column(heading, no_wrap=True)
    for floor in report.noise_floor:
        table.add_row(
            "torch bf16", "", str(floor.dim), f"{floor.cosine.p1:.6f}",
            f"{floor.mrr_at_10_bf16:.4f}",
            f"{floor.mrr_at_10_bf16 - floor.mrr_at_10_fp32:+.4f} to fp32",
            f"{floor.overlap_at_10:.3f}", "reference", style="dim",
        )  # fmt: skip
    for artifact in report.artifacts:
        table.add_section()
        for i, d in enumerate(artifact.dims):
            m = d.mrr_difference
            table.add_row(
                artifact.name if i == 0 else "",
                f"{artifact.size_bytes / 1e6:.1f}" if i == 0 else "",
                str(d.dim), f"{d.cosine.p1:.6f}", f"{d.metrics.mrr_at_10:.4f}",
                f"{m.mean:+.4f} [{m.low:+.4f}, {m.high:+.4f}]", f"{d.overlap_at_10:.3f}",
                f"[{STYLE[d.verdict]}]{d.verdict}[/]",
            )  # fmt: skip
    # A narrow terminal must not cut figures: the table may be wider than the window.
    console.width = max(console.width, 110)
    console.print(table, highlight=False)
    for artifact in report.artifacts:
        for reason in artifact.reasons:
            console.print(f"{artifact.name} {artifact.verdict}: {reason}", highlight=False,
                          markup=False, soft_wrap=True)  # fmt: skip
