"""A parity report with or without the user's own documents and questions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporter.parity.results import ParityReport
from exporter.records import canonical_json
from exporter.release.publication import Content
from exporter.report.html import render_html
from exporter.report.markdown import render_markdown
from exporter.report.write import HTML_NAME, JSON_NAME, MARKDOWN_NAME

REPORT_NAMES = (JSON_NAME, MARKDOWN_NAME, HTML_NAME)


def report_files(folder: Path, report: ParityReport, *, with_texts: bool) -> dict[str, Content]:
    """Return the files of a report by their names: as they lie, or made anew without texts."""
    if with_texts:
        return {name: folder / name for name in REPORT_NAMES if (folder / name).is_file()}
    bare = without_texts(report)
    return {
        JSON_NAME: canonical_json(bare).encode(),
        MARKDOWN_NAME: render_markdown(bare).encode(),
        HTML_NAME: render_html(bare).encode(),
    }


def without_texts(report: ParityReport) -> ParityReport:
    """Return a report with every figure and verdict, and none of the user's texts."""

    def cleared(value: Any) -> Any:
        if isinstance(value, dict):
            empty: dict[str, Any] = {
                "worst": [],
                "changed_answers": [],
                "articles": {},
                "asked": {},
            }
            return {key: empty[key] if key in empty else cleared(one) for key, one in value.items()}
        return [cleared(one) for one in value] if isinstance(value, list) else value

    data = cleared(report.model_dump(mode="json"))
    for artifact in data["artifacts"]:
        artifact["first_token_difference"] = None
    return ParityReport.model_validate(data)


def count_texts(report: ParityReport) -> int:
    """Return how many documents and questions of the corpus a report shows."""
    worst = {
        text["id"] for one in _records(report.model_dump(mode="json"), "worst") for text in one
    }
    return len(worst | set(report.articles) | set(report.asked))


def _records(value: Any, key: str) -> Iterator[Any]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name == key:
                yield one
            else:
                yield from _records(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from _records(one, key)
