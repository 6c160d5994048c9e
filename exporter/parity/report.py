"""Write parity.json, parity.md and parity.html, and read parity.json back."""

import json
from pathlib import Path

from pydantic import ValidationError

from exporter.errors import BadInput
from exporter.parity.html import render_html
from exporter.parity.markdown import render_markdown
from exporter.parity.records import ParityReport
from exporter.records import write_json

JSON_NAME, MARKDOWN_NAME, HTML_NAME = "parity.json", "parity.md", "parity.html"


def write_report(folder: Path, report: ParityReport) -> None:
    """Write all three files into `folder`, each atomically; parity.json last."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"output '{folder}' is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        (MARKDOWN_NAME, render_markdown(report)),
        (HTML_NAME, render_html(report)),
    ):
        temporary = folder / (name + ".partial")
        temporary.write_text(content, encoding="utf-8", newline="\n")
        temporary.replace(folder / name)
    write_json(folder / JSON_NAME, report)


def read_report(path: Path) -> ParityReport:
    """Read parity.json. Raises BadInput where it is missing or damaged."""
    if not path.is_file():
        raise BadInput(f"no parity report at '{path}'; run 'lawvault parity ARTIFACT' first")
    try:
        return ParityReport.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, ValueError, ValidationError):
        raise BadInput(
            f"'{path}' is not a sound parity report; run 'lawvault parity' again"
        ) from None
