"""Findings on the screen."""

from collections.abc import Iterable

from rich.console import Console

from exporter.checkpoint.contents import Finding
from exporter.cli.console import styled

STYLE = {"info": "dim", "warning": "yellow", "error": "red"}


def print_findings(console: Console, findings: Iterable[Finding]) -> None:
    """Print each finding with its evidence, effect and remedy."""
    for f in findings:
        console.print(styled(f.severity, STYLE[f.severity]), styled(f.id, "bold"))
        for label, text in (("evidence", f.evidence), ("effect", f.effect), ("remedy", f.remedy)):
            console.print(f"  {label}: {text}", highlight=False)
