"""Write parity.json and parity.md, and read parity.json back."""

import json
from pathlib import Path

from pydantic import ValidationError

from exporter.errors import BadInput
from exporter.parity.records import ArtifactResult, Difference, DimResult, ParityReport
from exporter.records import write_json

JSON_NAME, MARKDOWN_NAME = "parity.json", "parity.md"
COLUMNS = (
    "artifact", "MB", "dim", "cosine min", "p1", "median", "MRR@10", "reference",
    "difference [95 %]", "Hit@10", "Top-1", "nDCG@10", "overlap@10", "first place changed",
    "its questions, reference's index", "reference's questions, its index", "verdict",
)  # fmt: skip
LEGEND = """\
Cosines are to torch fp32, over all documents and questions; overlap@10 is with torch fp32's ten
first documents (in brackets: with torch bf16's). MRR@10 is compared with torch bf16, which is what
a user of the checkpoint runs, by a paired bootstrap over the questions. Search is exact; equal
scores rank by id. A dim below the full one takes the first components of the full vector, scaled to
length 1. `pass`: the whole interval lies above minus the margin and no other limit is broken;
`undecided`: it reaches past the margin; `fail`: a limit is broken."""


def write_report(folder: Path, report: ParityReport) -> None:
    """Write both files into `folder`, each atomically; parity.json last."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"output '{folder}' is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (MARKDOWN_NAME + ".partial")
    temporary.write_text(render_markdown(report), encoding="utf-8")
    temporary.replace(folder / MARKDOWN_NAME)
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


def first_line(report: ParityReport) -> str:
    """Return the verdict and, where a gate closed, the first reason."""
    closed = [a for a in report.artifacts if a.verdict != "pass"]
    if not closed:
        names = ", ".join(a.name for a in report.artifacts)
        return f"**pass**: {names} may replace {report.model_name} on this corpus."
    listed = "; ".join(f"{a.name} {a.verdict} ({a.reasons[0]})" for a in closed)
    return f"**{report.verdict}**: {listed}."


def render_markdown(report: ParityReport) -> str:
    """Return the report for people; its first line is the verdict and why."""
    lines = [
        first_line(report),
        "",
        f"# Parity of {report.model_name} on {report.corpus}",
        "",
        f"{report.documents:,} documents, {report.questions:,} questions. "
        f"Reference: {report.reference}. Query prompt `{report.query_prompt}`, document prompt "
        f"`{report.document_prompt}`.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + " --- |" * len(COLUMNS),
    ]
    for floor in report.noise_floor:
        c = floor.cosine
        cells = [
            "torch bf16 (noise floor)", "", f"{floor.dim}", f"{c.minimum:.6f}", f"{c.p1:.6f}",
            f"{c.median:.6f}", f"{floor.mrr_at_10_bf16:.4f}", f"fp32 {floor.mrr_at_10_fp32:.4f}",
            f"{floor.mrr_at_10_bf16 - floor.mrr_at_10_fp32:+.4f}", "", "", "",
            f"{floor.overlap_at_10:.4f}", "", "", "", "",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    for artifact in report.artifacts:
        lines += [_row(artifact, d) for d in artifact.dims]
    lines += ["", *LEGEND.splitlines()]
    for artifact in report.artifacts:
        lines += _section(artifact, report)
    return "\n".join(lines) + "\n"


def _section(artifact: ArtifactResult, report: ParityReport) -> list[str]:
    lines = ["", f"## {artifact.name}: {artifact.verdict}", ""]
    lines += [f"- {reason}" for reason in artifact.reasons]
    if artifact.window_used != report.window_used:
        lines.append(
            f"- built with the sliding window {artifact.window_used}, the reference has "
            f"{report.window_used}: the figures include the effect of the other window"
        )
    if artifact.first_token_difference:
        lines.append(f"- token ids: {artifact.first_token_difference}")
    lines.append(f"- manifest {artifact.manifest_sha256}")
    if artifact.dims:
        lines += ["", f"Texts farthest from fp32, at dim {artifact.dims[0].dim}:", "",
                  "| cosine | id | text |", "| --- | --- | --- |"]  # fmt: skip
        lines += [
            f"| {w.cosine:.6f} | {_cell(w.id)} | {_cell(w.text)} |"
            for w in artifact.dims[0].cosine.worst
        ]
    return lines


def _row(artifact: ArtifactResult, d: DimResult) -> str:
    c = d.cosine
    cells = [
        artifact.name, f"{artifact.size_bytes / 1e6:.1f}", f"{d.dim}", f"{c.minimum:.6f}",
        f"{c.p1:.6f}", f"{c.median:.6f}", f"{d.metrics.mrr_at_10:.4f}",
        f"{d.reference.mrr_at_10:.4f}", show_difference(d.mrr_difference),
        f"{d.metrics.hit_at_10:.4f}", f"{d.metrics.top_1:.4f}", f"{d.metrics.ndcg_at_10:.4f}",
        f"{d.overlap_at_10:.4f} ({d.overlap_at_10_bf16:.4f})", f"{d.first_place_changed}",
        f"{d.queries_on_reference_index.mrr_at_10:.4f} "
        f"({show_difference(d.queries_on_reference_index_difference)})",
        f"{d.reference_queries_on_index.mrr_at_10:.4f} "
        f"({show_difference(d.reference_queries_on_index_difference)})",
        d.verdict,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def show_difference(difference: Difference) -> str:
    """Return `-0.0012 [-0.0051, +0.0024]`."""
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
