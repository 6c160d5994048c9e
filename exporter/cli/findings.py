"""Findings on the screen."""

from collections.abc import Iterable

from rich.console import Console

from exporter.checkpoint.contents import Finding

STYLE = {"info": "dim", "warning": "yellow", "error": "red"}


def print_findings(console: Console, findings: Iterable[Finding]) -> None:
    """Print each finding with its evidence, effect and remedy."""
    for f in findings:
        console.print(f"[{STYLE[f.severity]}]{f.severity}[/] [bold]{f.id}[/bold]", highlight=False)
        for label, text in (("evidence", f.evidence), ("effect", f.effect), ("remedy", f.remedy)):
            console.print(f"  {label}: {text}", highlight=False, markup=False)
