"""lawvault bench."""

from pathlib import Path

import click

from exporter.cli.console import open_console
from exporter.cli.table import NARROW
from exporter.cli.terminal import echo
from exporter.records import canonical_json, write_json

MOST_THREADS = 1024
"""More than the processors of one machine; a runtime starts as many as it is told to."""


@click.command()
@click.argument(
    "artifacts", nargs=-1, required=True, metavar="ARTIFACTS...", type=click.Path(path_type=Path)
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Medians of so many."
)
@click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), help="Of each runtime. Default: its own."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the figures as JSON, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def bench(
    *,
    artifacts: tuple[Path, ...],
    rounds: int,
    threads: int | None,
    output: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Time ARTIFACT... on this machine, taking turns: throughput, latency, load, memory.

    Batches of 8 texts of 128 tokens and 32 of 64, single texts of 24 and 128, tokenization
    included. Let nothing else run; compare within one run only.
    """
    from rich.table import Table

    from exporter.release.bench import run_bench

    del debug

    def show(step: str) -> None:
        if not quiet:
            echo(step, err=True)

    report = run_bench(artifacts, rounds=rounds, threads=threads, on_progress=show)
    if output is not None:
        write_json(output, report)
    if as_json:
        click.echo(canonical_json(report), nl=False)
        return
    console = open_console()
    table = Table(
        title=f"{report.machine}, {report.cores} cores, medians of {report.rounds}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("artifact", no_wrap=True)
    for heading in (
        "MB",
        "tokens/s\n8x128",
        "tokens/s\n32x64",
        "ms\n1x24",
        "ms\n1x128",
        "load\ns",
        "peak\nMB",
    ):
        table.add_column(heading, no_wrap=True, justify="right")
    for r in report.results:
        long, many, short, single = r.timings
        table.add_row(
            r.name,
            f"{r.size_bytes / 1e6:,.1f}",
            f"{long.tokens_per_second:,.0f}",
            f"{many.tokens_per_second:,.0f}",
            f"{short.milliseconds:.2f}",
            f"{single.milliseconds:.2f}",
            f"{r.load_seconds:.2f}",
            f"{r.peak_memory_bytes / 1e6:,.0f}",
        )
    console.width = max(console.width, NARROW)
    console.print(table, highlight=False)
