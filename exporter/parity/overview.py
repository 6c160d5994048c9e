"""index.html of a release: which file for which use, three sentences first."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from exporter.parity.html import environment
from exporter.parity.records import ArtifactResult, ParityReport, Verdict

INDEX_NAME = "index.html"
USES = {
    "gguf": "Ollama, llama.cpp, desktop applications",
    "onnx": "onnxruntime: servers, Python, Node, phones",
}


def write_overview(
    folder: Path, report: ParityReport, *, packages: Mapping[str, Sequence[str]],
    closed: Sequence[str],
) -> None:  # fmt: skip
    """Write index.html beside the report. packages: paths below `folder` by artifact's name;
    `closed`: gates that did. Same input, same bytes."""
    made = environment()
    files = [
        {
            "name": a.name, "folder": a.name, "verdict": a.verdict,
            "size": f"{a.size_bytes / 1e6:,.1f}", "use": USES.get(a.kind, a.kind),
            "existing": existing_index(a), "packages": list(packages.get(a.name, ())),
        }
        for a in report.artifacts
    ]  # fmt: skip
    page = made.get_template("index.html.j2").render(
        report=report, style=Markup(made.get_template("page.css").render()), files=files,
        lead=lead_sentences(report), closed=closed,
    )  # fmt: skip
    temporary = folder / (INDEX_NAME + ".partial")
    temporary.write_text(page, encoding="utf-8", newline="\n")
    temporary.replace(folder / INDEX_NAME)


def existing_index(artifact: ArtifactResult) -> Verdict:
    """Return the verdict on this file's questions against the original's index, at the full dim."""
    if artifact.verdict != "pass" or not artifact.dims:
        return artifact.verdict
    found: Verdict = artifact.dims[0].deployed("queries").verdict
    return found


def lead_sentences(report: ParityReport) -> tuple[str, str, str]:
    """Return what an application's developer needs: against the index that exists, with a new
    index, and what to leave alone. All from the verdicts by way of deployment."""
    existing = [a for a in report.artifacts if a.verdict == "pass" and existing_index(a) == "pass"]
    new = [a for a in report.artifacts if a.verdict == "pass" and a not in existing]
    rest = [a for a in report.artifacts if a.verdict != "pass"]
    first = "No file is proven for questions against an index that the original made: keep it."
    if existing:
        small = min(existing, key=lambda a: a.size_bytes)
        first = (f"Keep the index you have: {_names(existing)} may ask it in the original's place; "
                 f"the smallest is {small.name} ({small.size_bytes / 1e6:,.1f} MB).")  # fmt: skip
    second = "No further file is proven with an index of its own making."
    if new:
        second = (f"Make the index again with the same file to use {_names(new)}: the proof holds "
                  "where questions and documents come from one file.")  # fmt: skip
    third = "Every file passed."
    if rest:
        told = ", ".join(f"{a.name} ({_why(a)})" for a in rest)
        third = f"Do not use {told}."
    return first, second, third


def _why(artifact: ArtifactResult) -> str:
    return "failed" if artifact.verdict == "fail" else "undecided on this many questions"


def _names(artifacts: Sequence[ArtifactResult]) -> str:
    names = [a.name for a in artifacts]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
