"""index-size.md and .svg: how small an index may be, for people."""

import math
from collections.abc import Sequence
from pathlib import Path

from exporter.errors import BadInput
from exporter.markdown_text import harmless
from exporter.records import write_json
from exporter.report.markdown import show_difference
from exporter.report.svg import Svg, round_steps
from exporter.tables.index_size import CANDIDATES, IndexSizeReport, IndexSizeRun, SizedSearch, Way

JSON_NAME, RUN_NAME = "index-size.json", "index-size.run.json"
MARKDOWN_NAME, PLOT_NAME = "index-size.md", "index-size.svg"

FRACTIONS = {
    2: "half",
    3: "a third",
    4: "a quarter",
    6: "a sixth",
    8: "an eighth",
    12: "a twelfth",
    16: "a sixteenth",
    24: "a twenty-fourth",
    32: "a thirty-second",
}

LEGEND = """\
Scanned: bytes a document that a search goes through; stored: with the column that LanceDB builds an
index on, and the copy that the first {candidates} candidates are scored again from. Rescoring is at
full width. MRR@10's difference, with its 95 % interval over the questions, and overlap@10 are to
exact search in float32 at full width{truth}. numpy: share of the first ten that the
same codec in numpy finds, without LanceDB; bits tie often, and ties are broken otherwise. Every
figure is of LanceDB, one question at a time. int8 is its scalar quantizer over all rows, binary
the signs by Hamming distance. Approximate indexes have LanceDB's defaults and are trained at
random. Verdict: pass where the whole interval lies above -{margin:g}, the recipe's margin for 8
bits."""

STYLE = """\
svg{background:#fff;font:12px sans-serif}text{fill:#333}.axis{stroke:#999}.grid{stroke:#e4e4e4}
.front{stroke:#1f6f8b;stroke-width:1.5;fill:none}.pass{fill:#1f6f8b}.undecided{fill:#c9a227}
.fail{fill:#b4443c}.name{paint-order:stroke;stroke:#fff;stroke-width:3px}
.limit{stroke:#b4443c;stroke-dasharray:4 3}"""


def write_index_size(folder: Path, report: IndexSizeReport, run: IndexSizeRun) -> None:
    """Write the four files into `folder`, the report last."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--output '{folder}' is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        (PLOT_NAME, size_plot(report)),
        (MARKDOWN_NAME, harmless(render_index_size(report, run))),
    ):
        partial = folder / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
    write_json(folder / RUN_NAME, run)
    write_json(folder / JSON_NAME, report)


def sentence(report: IndexSizeReport) -> str:
    """Return the smallest way that passes, in one sentence."""
    found = report.smallest
    if found is None:
        return (
            f"No way passes: nothing smaller than float32 at {report.dim} is shown to lose less "
            f"than {report.margin:g} of MRR@10 on {report.questions:,} questions"
        )
    return (
        f"{shown(found.way)}: {_share(4 * report.dim / found.scanned)} of the bytes scanned, "
        f"MRR@10 {show_difference(found.difference)}: pass"
    )


def shown(way: Way) -> str:
    """Return `256 dims in int8, rescored from int8`."""
    joined = "by" if way.approximate else "in"
    copy = "" if way.copy_of == "none" else f", rescored from {way.copy_of}"
    return f"{way.dim} dims {joined} {way.codec}{copy}"


def render_index_size(report: IndexSizeReport, run: IndexSizeRun) -> str:
    """Return the report for people, its verdict first."""
    times = {time.way: time for time in run.times}
    front = {search.way for search in report.front}
    truth = "" if report.judged else ", whose first answer is taken for the right one"
    lines = [
        f"**{sentence(report)}.**",
        "",
        f"# How small an index of {report.artifact} may be",
        "",
        f"{report.source}: {report.rows:,} documents of {report.dim} components, "
        f"{report.questions:,} questions. Exact search in float32: MRR@10 {report.mrr_at_10:.4f}, "
        f"{4 * report.dim:,} bytes a document.",
        "",
        f"![bytes scanned against MRR@10]({PLOT_NAME})",
        "",
        "| dims | codec | rescored from | scanned | stored | MRR@10 difference [95 %] | overlap@10 "
        "| numpy | ms | built in s | verdict |",
        "| ---: | --- | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for search in report.searches:
        way, time = search.way, times[search.way]
        in_numpy = search.numpy_overlap_at_10
        verdict = f"**{search.verdict}**" if way in front else search.verdict
        copy = "" if way.copy_of == "none" else way.copy_of
        lines.append(
            f"| {way.dim} | {way.codec} | {copy} | {search.scanned:,.0f} | {search.stored:,.0f} | "
            f"{show_difference(search.difference)} | {search.overlap_at_10.mean:.4f} | "
            f"{'' if in_numpy is None else f'{in_numpy:.3f}'} | {time.query_ms:.1f} | "
            f"{time.build_seconds:.1f} | {verdict} |"
        )
    lines += [
        "",
        "Verdicts in bold: no other way has both fewer bytes scanned and a higher MRR@10.",
    ]
    lines += [f"Left out: {line}." for line in report.left_out]
    legend = LEGEND.format(candidates=CANDIDATES, truth=truth, margin=report.margin)
    versions = ", ".join(f"{name} {version}" for name, version in report.libraries.items())
    lines += ["", *legend.splitlines(), "", f"{run.machine}; {versions}.", ""]
    return "\n".join(lines)


def size_plot(report: IndexSizeReport) -> str:
    """Return bytes scanned against MRR@10's difference, the front joined, as an SVG of its own."""
    width, height, left, bottom, top, right = 760, 420, 70, 46, 34, 130
    sizes = [search.scanned for search in report.searches] + [4.0 * report.dim]
    values = [search.difference.mean for search in report.searches]
    # What loses more than ten margins is drawn at the bottom: how bad it is does not matter.
    floor = -10 * report.margin
    low, high = max(floor, min(*values, -report.margin)), max(*values, 0.0)
    room = (high - low) * 0.06
    low, high = low - room, high + room
    first, last = math.log2(min(sizes)) - 0.2, math.log2(max(sizes)) + 0.2

    def x(size: float) -> float:
        return left + (math.log2(size) - first) / (last - first) * (width - left - right)

    def y(value: float) -> float:
        return top + (high - max(value, floor)) / (high - low) * (height - top - bottom)

    svg = Svg(width, height, label="bytes scanned a document against the difference of MRR@10")
    svg.style(STYLE)
    svg.root.set("xmlns", "http://www.w3.org/2000/svg")
    for step in round_steps(low, high):
        svg.line(left, y(step), width - right, y(step), style="grid")
        svg.text(left - 8, y(step) + 4, f"{step:+.3g}", anchor="end")
    for power in range(math.ceil(first), math.floor(last) + 1):
        svg.line(x(2.0**power), height - bottom, x(2.0**power), height - bottom + 5)
        svg.text(x(2.0**power), height - bottom + 19, f"{2**power:,}", anchor="middle")
    svg.line(left, height - bottom, width - right, height - bottom)
    svg.line(left, y(-report.margin), width - right, y(-report.margin), style="limit")
    svg.text(width - right + 6, y(-report.margin) + 4, "the margin")
    front = [(x(s.scanned), y(s.difference.mean)) for s in report.front]
    svg.polyline(front, style="front")
    for search in report.searches:
        said = f"{shown(search.way)}: {search.scanned:,.0f} bytes, {search.difference.mean:+.4f}"
        place = x(search.scanned), y(search.difference.mean)
        svg.circle(*place, 4, style=search.verdict, title=said)
    _name_front(svg, report.front, front)
    for number, verdict in enumerate(("pass", "undecided", "fail")):
        svg.circle(width - right + 12, height - bottom - 60 + 18 * number, 4, style=verdict)
        svg.text(width - right + 22, height - bottom - 56 + 18 * number, verdict)
    svg.text((left + width - right) / 2, height - 8, "bytes scanned a document", anchor="middle")
    svg.text(left - 60, top - 16, "MRR@10, difference")
    if min(values) < floor:
        svg.text(left + 6, y(floor) - 8, f"below {floor:g}")
    return str(svg) + "\n"


def _name_front(
    svg: Svg, front: Sequence[SizedSearch], places: Sequence[tuple[float, float]]
) -> None:
    """Label the front's points as far as labels keep apart, from the largest down."""
    taken: list[tuple[float, float]] = []
    for search, (x, y) in reversed(list(zip(front, places, strict=True))):
        if any(abs(y - other) < 14 and abs(x - at) < 170 for at, other in taken):
            continue
        taken.append((x, y))
        copy = "" if search.way.copy_of == "none" else f" + {search.way.copy_of}"
        svg.text(x + 7, y + 14, f"{search.way.dim} {search.way.codec}{copy}", style="name")


def _share(times: float) -> str:
    """Return `a twelfth` of 12, or `1/10.7`."""
    near = round(times)
    if near in FRACTIONS and abs(times - near) < 0.02 * near:
        return FRACTIONS[near]
    return "all" if abs(times - 1) < 0.02 else f"1/{times:.3g}"
