"""lawvault gate: is this release good enough, and no worse than the last?"""

from pathlib import Path

import click

from exporter.cli.terminal import echo
from exporter.records import canonical_json, write_text


@click.command()
@click.argument("report", type=click.Path(path_type=Path), metavar="PARITY.JSON")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="PARITY.JSON",
    help="The report of the last release, on the same corpus.",
)
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the table, as for a pull request.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def gate(
    *, report: Path, baseline: Path | None, markdown: Path | None, as_json: bool, debug: bool
) -> int:
    """Exit with 1 where an artifact became worse than in the last release, beyond noise.

    Without --baseline: where an artifact did not pass.
    """
    from exporter.parity.against_baseline import against_baseline
    from exporter.report.markdown import first_line, render_markdown
    from exporter.report.regression import render_regression
    from exporter.report.write import read_report

    del debug  # main() reads it
    found = read_report(report)
    if baseline is None:
        if markdown is not None:
            write_text(markdown, render_markdown(found))
        if as_json:
            click.echo(canonical_json({"verdict": found.verdict}), nl=False)
        else:
            echo(first_line(found))
        return int(found.verdict != "pass")
    compared = against_baseline(found, read_report(baseline))
    text = render_regression(compared)
    if markdown is not None:
        write_text(markdown, text)
    if as_json:
        click.echo(canonical_json(compared), nl=False)
    else:
        echo(text.rstrip("\n"))
    return int(compared.closed)
