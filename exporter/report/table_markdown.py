"""parity-index.md: what a table that is already shipped makes of artifacts' queries."""

from exporter.parity.measured import Interval, RankFlips
from exporter.report.markdown import show_difference
from exporter.tables.judgement import (
    ApproximateIndex,
    IndexArtifact,
    IndexReport,
    IndexRun,
    IndexSearch,
    merged,
)
from exporter.vectors.rows import UNIT_TOLERANCE

LEGEND = """\
Questions are embedded by each artifact and by the original in torch; the table's own vectors are
searched exactly. overlap@10 is with torch fp32's ten first documents, in brackets with torch
bf16's. Top-1: share of questions whose first document is torch bf16's. self-MRR@10 takes torch
fp32's first document for the right answer; its difference is to torch bf16, which is what a user of
the checkpoint runs, with its 95 % interval over the questions. Nobody has said
here which documents are right: this tells whether answers stay the same, not whether they are good.
Judged by the recipe's limits for cosine, overlap@10 and MRR@10; a table not made with this
checkpoint and prompt fails whatever is found in it."""


def render_index_markdown(report: IndexReport, run: IndexRun) -> str:
    """Return the report for people; its first line is the verdict and why."""
    origin = report.origin
    lines = [
        first_line(report),
        "",
        f"# {report.model_name} on the table {report.table}",
        "",
        f"`{report.index}`, table `{report.table}` at version {report.table_version}: "
        f"{report.rows:,} rows of {report.dim} components, {_lengths(report)}. "
        f"{report.questions:,} questions of `{report.questions_file}`, query prompt "
        f"`{report.query_prompt}`.",
        "",
        "## Origin of the table",
        "",
        f"**{origin.status}.** " + _origin(report),
        *(f"- {reason}" for reason in origin.reasons),
        "",
        "## Exact search",
        "",
        "| | metric | cosine p1 | overlap@10 (bf16) | Top-1 [95 %] | self-MRR@10 | difference "
        "[95 %] | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for metrics, floor in merged(report.noise_floor):
        lines.append(
            f"| torch bf16 against fp32 | {metrics} | | {floor.overlap_at_10:.4f} | "
            f"{floor.top_1_agreement:.4f} | {floor.self_mrr_at_10:.4f} | | reference |"
        )
    for artifact in report.artifacts:
        lines += [_row(artifact, search, metrics) for metrics, search in merged(artifact.searches)]
    lines += ["", *LEGEND.splitlines()]
    for artifact in report.artifacts:
        lines += _artifact(artifact)
    lines += _approximate(run)
    return "\n".join(lines) + "\n"


def first_line(report: IndexReport) -> str:
    """Return the verdict and, where a gate closed, the first reason."""
    if report.verdict == "pass":
        names = ", ".join(artifact.name for artifact in report.artifacts)
        return f"**pass**: {names} may ask the table {report.table}"
    return f"**{report.verdict}**: {report.reasons[0]}"


def show_interval(interval: Interval) -> str:
    """Return `0.9871 [0.9822, 0.9913]`."""
    return show_difference(interval, sign="")


def _lengths(report: IndexReport) -> str:
    if max(abs(report.shortest - 1), abs(report.longest - 1)) <= UNIT_TOLERANCE:
        return "all of length 1, so that L2 and cosine rank alike"
    return (
        f"of length {report.shortest:.4f} to {report.longest:.4f}, so that L2 and cosine may rank "
        "differently"
    )


def _origin(report: IndexReport) -> str:
    origin = report.origin
    parts = []
    if origin.metadata is not None:
        made = origin.metadata
        parts.append(
            f"Its metadata says: made with {made.space.artifact} of {made.space.model_name}, from "
            f"{made.documents:,} documents of {made.corpus}."
        )
    if origin.cosine is not None:
        parts.append(
            f"Its first {origin.rows} rows, made again in torch fp32 from their texts with "
            f"`{origin.document_prompt}`: cosine 1st percentile {origin.cosine.p1:.6f} (torch "
            f"bf16's own {origin.noise:.6f}, limit {origin.limit:.6f}), median "
            f"{origin.cosine.median:.6f}."
        )
    if origin.stripped:
        parts.append(f"{origin.stripped} of them fit with white space at both ends stripped.")
    return " ".join(parts)


def _row(artifact: IndexArtifact, search: IndexSearch, metrics: str) -> str:
    cosine = f"{artifact.cosine.p1:.6f}" if artifact.cosine else ""
    verdict = search.verdict if search.judged else f"({search.verdict}, not judged)"
    return (
        f"| {artifact.name} | {metrics} | {cosine} | {search.overlap_at_10.mean:.4f} "
        f"({search.overlap_at_10_bf16.mean:.4f}) | {show_interval(search.top_1_agreement)} | "
        f"{search.self_mrr_at_10:.4f} | {show_difference(search.difference)} | {verdict} |"
    )


def _artifact(artifact: IndexArtifact) -> list[str]:
    lines = ["", f"## {artifact.name}: {artifact.verdict}"]
    if artifact.reasons:
        lines.append("")
    lines += [f"- {reason}" for reason in artifact.reasons]
    if artifact.spelled:
        most = ", ".join(f"`{lost.piece}` {lost.times:,}" for lost in artifact.lost_most)
        lines += [
            "",
            f"{artifact.spelled:,} questions have a piece that its vocabulary lacks, and are "
            f"spelled with shorter ones; most often {most}.",
        ]
    shown: set[tuple[str, str]] = set()
    for metrics, search in merged(artifact.searches):
        lines += ["", f"By {metrics}:", "", *_flips(search.rank_flips)]
        fresh = [c for c in search.changed if (c.id, c.artifact) not in shown]
        shown |= {(c.id, c.artifact) for c in fresh}
        if fresh:
            lines += [
                "",
                "| question | torch bf16's first | this artifact's first | the former is now |",
                "| --- | --- | --- | --- |",
            ]
            lines += [
                f"| {_cell(c.question)} | {_cell(c.reference)} | {_cell(c.artifact)} | "
                f"{c.reference_rank or 'not among ten'} |"
                for c in fresh
            ]
    return lines


def _flips(flips: RankFlips) -> list[str]:
    lines = [
        "| questions with another first document (torch fp32's first moved) | "
        + " | ".join(flips.names)
        + " |",
        "| --- |" + " --- |" * len(flips.names),
    ]
    for name, first, moved in zip(flips.names, flips.first_place, flips.answer_moved, strict=True):
        cells = [f"{a} ({b})" for a, b in zip(first, moved, strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _approximate(run: IndexRun) -> list[str]:
    lines: list[str] = []
    for index in run.approximate:
        lines += ["", f"## Through the index `{index.name}` (approximate, not judged)", ""]
        lines.append(_settings(index))
        if not index.searches:
            lines.append(f"The metric '{index.distance}' is not compared here.")
            continue
        lines += [
            "",
            "| | recall@10 against exact search | overlap@10 with bf16 | Top-1 with bf16 |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| {s.name} | {show_interval(s.recall_at_10)} | {show_interval(s.overlap_at_10)} | "
            f"{show_interval(s.top_1_agreement)} |"
            for s in index.searches
        ]
    return lines


def _settings(index: ApproximateIndex) -> str:
    probes = "LanceDB's default" if index.nprobes is None else str(index.nprobes)
    refined = "none" if index.refine_factor is None else str(index.refine_factor)
    text = f"{index.kind}, {index.distance}; nprobes: {probes}, refine factor: {refined}."
    if index.unindexed_rows:
        text += f" {index.unindexed_rows:,} rows are not in it; LanceDB searches them exactly."
    return text


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
