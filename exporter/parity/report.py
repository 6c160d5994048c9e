"""Write parity.json and parity.md, and read parity.json back."""

import json
from pathlib import Path

from pydantic import ValidationError

from exporter.errors import BadInput
from exporter.parity.records import ArtifactResult, ParityReport
from exporter.records import write_json

JSON_NAME, MARKDOWN_NAME = "parity.json", "parity.md"


def write_report(folder: Path, report: ParityReport) -> None:
    """Write both files into `folder`, each atomically; parity.json last."""
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
        raise BadInput(f"'{path}' is not a sound parity report; run 'lawvault parity' again") from (
            None
        )


def first_line(report: ParityReport) -> str:
    """Return the verdict and, where a gate closed, the first reason."""
    closed = [a for a in report.artifacts if a.verdict != "pass"]
    if not closed:
        names = ", ".join(a.name for a in report.artifacts)
        return f"**pass**: {names} may replace {report.model_name} on this corpus."
    listed = "; ".join(f"{a.name} {a.verdict} ({a.reasons[0]})" for a in closed)
    return f"**{report.verdict}**: {listed}."


def render_markdown(report: ParityReport) -> str:
    """Return the report for people."""
    lines = [
        first_line(report),
        "",
        f"# Parity of {report.model_name} on {report.corpus}",
        "",
        f"{report.documents:,} documents, {report.questions:,} questions. "
        f"Reference: {report.reference}. Query prompt `{report.query_prompt}`, document prompt "
        f"`{report.document_prompt}`.",
        "",
        "| artifact | MB | dim | cosine min | p1 | median | MRR@10 | reference | difference "
        "[95 %] | Hit@10 | Top-1 | overlap@10 | on the reference's index | verdict |",
        "| --- |" + " --- |" * 13,
    ]
    for floor in report.noise_floor:
        c = floor.cosine
        lines.append(
            f"| torch bf16 (noise floor) | | {floor.dim} | {c.minimum:.6f} | {c.p1:.6f} | "
            f"{c.median:.6f} | {floor.mrr_at_10_bf16:.4f} | fp32 {floor.mrr_at_10_fp32:.4f} | "
            f"{floor.mrr_at_10_bf16 - floor.mrr_at_10_fp32:+.4f} | | | "
            f"{floor.overlap_at_10:.4f} | | |"
        )
    for artifact in report.artifacts:
        lines += _rows(artifact)
    for artifact in report.artifacts:
        lines += ["", f"## {artifact.name}: {artifact.verdict}", ""]
        lines += [f"- {reason}" for reason in artifact.reasons]
        if artifact.first_token_difference:
            lines.append(f"- token ids: {artifact.first_token_difference}")
        if artifact.reasons or artifact.first_token_difference:
            lines.append("")
        lines += ["Texts farthest from fp32, at the full dim:", "", "| cosine | text |",
                  "| --- | --- |"]  # fmt: skip
        for worst in artifact.dims[0].cosine.worst:
            text = " ".join(worst.text.split()).replace("|", "\\|")
            lines.append(f"| {worst.cosine:.6f} | {text} |")
    return "\n".join(lines) + "\n"


def _rows(artifact: ArtifactResult) -> list[str]:
    rows = []
    for d in artifact.dims:
        m = d.mrr_difference
        crossed = d.queries_on_reference_index_difference
        rows.append(
            f"| {artifact.name} | {artifact.size_bytes / 1e6:.1f} | {d.dim} | "
            f"{d.cosine.minimum:.6f} | {d.cosine.p1:.6f} | {d.cosine.median:.6f} | "
            f"{d.metrics.mrr_at_10:.4f} | {d.reference.mrr_at_10:.4f} | {m.mean:+.4f} "
            f"[{m.low:+.4f}, {m.high:+.4f}] | {d.metrics.hit_at_10:.4f} | {d.metrics.top_1:.4f} | "
            f"{d.overlap_at_10:.4f} | {d.queries_on_reference_index.mrr_at_10:.4f} "
            f"({crossed.mean:+.4f}) | {d.verdict} |"
        )
    return rows
