"""Write parity-index.json, .md and .run.json."""

from pathlib import Path

from exporter.errors import BadInput
from exporter.markdown_text import harmless
from exporter.records import write_json
from exporter.report.table_markdown import render_index_markdown
from exporter.tables.judgement import IndexReport, IndexRun

JSON_NAME, MARKDOWN_NAME = "parity-index.json", "parity-index.md"
RUN_NAME = "parity-index.run.json"


def write_index_report(folder: Path, report: IndexReport, run: IndexRun) -> None:
    """Write the three files into `folder`, each atomically; the report last."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--output '{folder}' is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (MARKDOWN_NAME + ".partial")
    temporary.write_text(harmless(render_index_markdown(report, run)), encoding="utf-8")
    temporary.replace(folder / MARKDOWN_NAME)
    write_json(folder / RUN_NAME, run)
    write_json(folder / JSON_NAME, report)
