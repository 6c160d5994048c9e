"""parity.html: the report as one page that needs nothing else, no network above all."""

from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from exporter.parity import svg
from exporter.parity.markdown import first_line, show_difference, show_multiple
from exporter.parity.parts import PARTS
from exporter.parity.records import ArtifactResult, ParityReport

WAY_NAMES = {"both": "both sides", "queries": "queries on the original's index",
             "documents": "the original's queries on its index"}  # fmt: skip


def environment() -> jinja2.Environment:
    """Return an environment that escapes every value."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("exporter.parity"), autoescape=True,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip


def render_html(report: ParityReport) -> str:
    """Return the page. Same report, same bytes."""
    made = environment()
    style = made.get_template("page.css").render()
    judged = [a for a in report.artifacts if a.dims]
    return made.get_template("parity.html.j2").render(
        report=report, style=Markup(style), sentence=_sentence(report), rows=_rows(report),
        reasons=[f"{a.name}: {reason}" for a in report.artifacts for reason in a.reasons],
        plots=_plots(report, judged), judged=[_details(a) for a in judged],
    )  # fmt: skip


def _sentence(report: ParityReport) -> str:
    line = first_line(report)
    return line.split(": ", 1)[-1].replace("**", "")


def _rows(report: ParityReport) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for floor in report.noise_floor:
        cells = ["", str(floor.dim), f"{floor.cosine.p1:.6f}", "1.0 x",
                 f"{floor.mrr_at_10_bf16:.4f}", "", f"{floor.overlap_at_10:.3f}"]  # fmt: skip
        rows.append({"name": "torch bf16" if floor is report.noise_floor[0] else "", "cells": cells,
                     "verdict": None, "color": None, "first": False})  # fmt: skip
    for i, artifact in enumerate(report.artifacts):
        size = f"{artifact.size_bytes / 1e6:,.1f}"
        if not artifact.dims:
            rows.append({"name": artifact.name, "cells": [size, *[""] * 6], "color": i % svg.SERIES,
                         "verdict": artifact.verdict, "first": True})  # fmt: skip
        for d in artifact.dims:
            both, first = d.deployed("both"), d is artifact.dims[0]
            cells = [
                size if first else "", str(d.dim), f"{d.cosine.p1:.6f}",
                show_multiple(d.error_over_noise), f"{both.metrics.mrr_at_10:.4f}",
                show_difference(both.differences.mrr_at_10), f"{both.overlap_at_10.mean:.3f}",
            ]  # fmt: skip
            rows.append({"name": artifact.name if first else "", "cells": cells, "first": first,
                         "verdict": d.verdict,
                         "color": i % svg.SERIES if first else None})  # fmt: skip
    return rows


def _plots(report: ParityReport, judged: Sequence[ArtifactResult]) -> list[dict[str, Any]]:
    if not judged:
        return []
    names = [a.name for a in judged]
    points, errors, lengths = [], [], []
    for a in judged:
        full = a.dims[0]
        d = full.deployed("both").differences.mrr_at_10
        points.append((a.name, a.size_bytes / 1e6, d.mean, d.low, d.high))
        errors.append((a.name, full.cosine.quantiles))
        lengths.append((a.name, [None if b.cosine is None else 1 - b.cosine.median
                                 for b in full.lengths]))  # fmt: skip
    errors.append(("torch bf16", report.noise_floor[0].cosine.quantiles))
    labels = [bucket.label for bucket in judged[0].dims[0].lengths]
    return [
        _plot("Size and retrieval", "MRR@10 against torch bf16 at the full dim, with its 95 % "
              "interval. 0 is no loss.", svg.size_and_quality(points, y="MRR@10"), names),
        _plot("How far vectors are from the truth", "1 - cosine to torch fp32 over all texts: the "
              "middle 90 %, the median, the worst. torch bf16 is what is run today.",
              svg.error_ranges(errors), []),
        _plot("By length of text", "In tokens. Damage to long texts is lost in an average.",
              svg.error_by_length(labels, lengths), names),
        _plot("What the bytes are", "Stored weights by part of the model, scales included.",
              svg.stacked_sizes([(a.name, a.parts) for a in judged], parts_of=PARTS), list(PARTS)),
    ]  # fmt: skip


def _plot(title: str, note: str, drawn: str, legend: Sequence[str]) -> dict[str, Any]:
    return {"title": title, "note": note, "svg": Markup(drawn), "legend": legend}


def _details(artifact: ArtifactResult) -> dict[str, Any]:
    full = artifact.dims[0]
    deployments = [
        {"way": WAY_NAMES[d.way], "verdict": d.verdict, "cells": [
            f"{d.metrics.mrr_at_10:.4f}", show_difference(d.differences.mrr_at_10),
            f"{d.overlap_at_10.mean:.3f}", str(d.first_place_changed)]}
        for d in full.deployments
    ]  # fmt: skip
    most = max(max(line) for line in full.rank_flips.first_place)
    return {"name": artifact.name, "dim": full.dim, "deployments": deployments,
            "flips": full.rank_flips, "most_flips": most or 1, "changed": full.changed,
            "worst": full.cosine.worst}  # fmt: skip
