"""Write parity.json, parity.md and parity.html, and read parity.json back."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporter.errors import BadInput
from exporter.parity.results import SCHEMA_VERSION, ParityReport
from exporter.parsing import parse_json
from exporter.recipe import Language
from exporter.records import write_json, write_text
from exporter.report.html import render_html
from exporter.report.markdown import render_markdown
from exporter.report.words import words_of

JSON_NAME, MARKDOWN_NAME, HTML_NAME = "parity.json", "parity.md", "parity.html"


def write_report(folder: Path, report: ParityReport, language: Language = "en") -> None:
    """Write the three files into `folder`, each atomically; parity.json last.

    `language`: of parity.html and parity.md.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"output '{folder}' is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MARKDOWN_NAME, render_markdown(report, words_of(language)))
    write_text(folder / HTML_NAME, render_html(report, words_of(language)))
    write_json(folder / JSON_NAME, report)


def report_beside(artifact: Path) -> ParityReport | None:
    """Return the report that lies beside an artifact, None where there is none. Raises BadInput as
    `read_report` does."""
    path = artifact.resolve().parent / JSON_NAME
    return read_report(path) if path.is_file() else None


def read_report(path: Path) -> ParityReport:
    """Read parity.json. Raises BadInput where it is missing or damaged."""
    if not path.is_file():
        raise BadInput(f"no parity report at '{path}'; run 'lawvault parity ARTIFACT' first")
    again = "run 'lawvault parity' again"
    data: Any = parse_json(path.read_bytes(), f"'{path}'", remedy=again)
    try:
        version = data.get("schema_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version != SCHEMA_VERSION:
            raise BadInput(
                f"'{path}' has schema version {version}, this tool reads {SCHEMA_VERSION}; "
                "run 'lawvault parity' again (kept vectors are used again)"
            )
        return ParityReport.model_validate(data)
    except ValidationError:
        raise BadInput(f"'{path}' is not a sound parity report; {again}") from None
