"""The plots of parity.html. Each is drawn twice, for a desktop's and a phone's width, so that its
letters stay as large as the page's."""

import math
import re
from collections.abc import Callable, Sequence
from unicodedata import east_asian_width

from exporter.format import format_of
from exporter.parity.measured import ErrorHistogram
from exporter.parity.results import ArtifactResult, ParityReport
from exporter.report.svg import CHARACTER_WIDTH, Svg, power_of_ten, round_steps
from exporter.report.words import ENGLISH, Words

WIDE, NARROW = 500, 320
NUMBER = re.compile(r"[\d,]+")
Plot = Callable[[ParityReport, int, Words], str]
Box = tuple[float, float, float, float]


def size_against_mrr(report: ParityReport, width: int, _: Words) -> str:
    """Draw MRR@10 over the artifact's size, its interval, and where its margin ends."""
    shown = sorted((a for a in report.artifacts if a.dims), key=lambda a: (a.size_bytes, a.name))
    height, left, top, bottom = 320, 52, 12, 276
    svg = Svg(width, height, label=_("MRR@10 of each artifact over its size"))
    full = max((a.dims[0] for a in shown), key=lambda d: d.dim)
    reference = full.reference.mrr_at_10
    spans = []
    for a in shown:
        d = a.dims[0].deployed("both").differences.mrr_at_10
        base = a.dims[0].reference.mrr_at_10
        spans.append(
            (base + d.low, base + d.mean, base + d.high, base - a.dims[0].deployed("both").margin)
        )
    low = min(min(s) for s in spans)
    high = max(reference, *(s[2] for s in spans))
    pad = 0.08 * (high - low)
    low, high = low - pad, high + pad
    logs = [math.log10(a.size_bytes / 1e6) for a in shown]
    spread = max(logs[-1] - logs[0], 0.3)
    start, stop = logs[0] - 0.28 * spread, logs[-1] + 0.22 * spread

    def x_of(value: float) -> float:
        return left + (value - start) / (stop - start) * (width - left - 8)

    def y_of(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    for value in round_steps(low, high):
        svg.line(left, y_of(value), width - 8, y_of(value), style="grid")
        svg.text(left - 6, y_of(value) + 4, f"{value:.3f}", style="tick", anchor="end")
    for value in _sizes(10**start, 10**stop):
        svg.line(x_of(math.log10(value)), bottom, x_of(math.log10(value)), bottom + 4)
        svg.text(x_of(math.log10(value)), bottom + 17, f"{value:g}", style="tick", anchor="middle")
    svg.line(left, bottom, width - 8, bottom)
    svg.text((left + width) / 2, height - 8, _("size in MB"), style="tick", anchor="middle")
    svg.line(left, y_of(reference), width - 8, y_of(reference), style="reference")
    taken: list[Box] = []
    marks = []
    for a, at, (lower, mean, upper, margin) in zip(shown, logs, spans, strict=True):
        x = x_of(at)
        svg.line(x - 9, y_of(margin), x + 9, y_of(margin), style="limit")
        svg.line(x, y_of(lower), x, y_of(upper), style=f"whisker {a.format}")
        said = f"{a.name}: {mean:.4f} [{lower:.4f}, {upper:.4f}]"
        if format_of(a.format).mark == "square":
            svg.rect(x - 5, y_of(mean) - 5, 10, 10, style=f"mark {a.format}", title=said)
        else:
            svg.circle(x, y_of(mean), 5.5, style=f"mark {a.format}", title=said)
        taken += [
            (x - 8, y_of(upper) - 5, x + 8, y_of(lower) + 5),
            (x - 10, y_of(margin) - 3, x + 10, y_of(margin) + 3),
        ]
        marks.append((a, x, y_of(mean), y_of(upper), y_of(lower)))
    taken.append((left, y_of(reference) - 1, width - 8, y_of(reference) + 1))
    labels: list[Box] = []
    for a, x, y, upper, lower in marks:
        _place(
            svg,
            a.name,
            x,
            y,
            (upper, lower),
            taken,
            labels,
            bounds=(left, top, width, bottom),
            style=f"label {a.format}",
        )
    return str(svg)


def _sizes(low: float, high: float) -> list[float]:
    steps = [m * 10.0**e for e in range(-3, 7) for m in (1, 2, 5)]
    return [s for s in steps if low <= s <= high]


def _place(
    svg: Svg,
    words: str,
    x: float,
    y: float,
    ends: tuple[float, float],
    taken: list[Box],
    labels: list[Box],
    *,
    bounds: Box,
    style: str,
) -> None:
    """Write `words` beside (x, y) where nothing is yet: beside it, or past its interval."""
    half, upper, lower = _width(words) / 2, *ends
    places = [(x - half - 11, y + 4), (x + half + 11, y + 4), (x, lower + 18), (x, upper - 9)]
    for i in (1, 2, 3, 4):
        places += [(x, lower + 18 + 14 * i), (x, upper - 9 - 14 * i)]
    for i in range(1, 12):  # a crowd: beside it, ever farther up or down
        places += [
            (x + side * (half + 11), y + 4 + 14 * i * up) for side in (-1, 1) for up in (-1, 1)
        ]
    box = _choose(places, half, taken, labels, bounds=bounds)
    taken.append(box)
    labels.append(box)
    middle = (box[0] + box[2]) / 2
    if box[1] > lower + 12 or box[3] < upper - 12:  # too far off to be seen as its
        below = box[1] > lower
        end, edge = (lower, box[1]) if below else (upper, box[3])
        svg.line(min(max(x, box[0]), box[2]), edge, x, end, style="leader")
    svg.text(middle, box[3] - 3, words, style=style, anchor="middle")


def _width(words: str) -> float:
    """Return how wide a label is, in pixels: a Chinese character is twice as wide as a letter."""
    wide = sum(east_asian_width(character) in "WF" for character in words)
    return CHARACTER_WIDTH * (len(words) + 0.8 * wide)


def _choose(
    places: Sequence[tuple[float, float]],
    half: float,
    taken: Sequence[Box],
    labels: Sequence[Box],
    *,
    bounds: Box,
) -> Box:
    """Return the box of a label around the first of `places` where nothing is yet, `half` its
    width."""
    boxes = [(cx - half, cy - 11, cx + half, cy + 3) for cx, cy in places]
    inside = [
        b
        for b in boxes
        if b[0] >= bounds[0] and b[2] <= bounds[2] and b[1] >= bounds[1] - 10 and b[3] <= bounds[3]
    ]
    free = [b for b in inside if not any(_touch(b, other) for other in taken)]
    # Where every place is crossed by an interval, at least no label covers another.
    legible = [b for b in inside if not any(_touch(b, other) for other in labels)]
    return next(iter(free or legible or inside or boxes))


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


class LogErrors:
    """An axis of 1 - cosine, in decades."""

    def __init__(self, low: int, high: int, *, left: float, right: float) -> None:
        self.low, self.high, self.left, self.right = low, high, left, right

    def x(self, error: float) -> float:
        """Return where an error lies; what is outside lies at the end."""
        exponent = math.log10(max(error, 10.0**self.low))
        share = (min(exponent, self.high) - self.low) / (self.high - self.low)
        return self.left + share * (self.right - self.left)

    def draw(self, svg: Svg, top: float, bottom: float) -> None:
        """Draw grid lines, and names of decades below."""
        every = 1 if (self.right - self.left) / (self.high - self.low) > 34 else 2
        for exponent in range(self.low, self.high + 1):
            x = self.x(10.0**exponent)
            svg.line(x, top, x, bottom, style="grid")
            if (exponent - self.high) % every == 0:
                svg.text(x, bottom + 16, power_of_ten(exponent), style="tick", anchor="middle")


def _decades(report: ParityReport) -> tuple[int, int]:
    """Return the decades between which all errors and limits of the report lie."""
    histograms = [f.errors for f in report.noise_floor[:1]]
    histograms += [a.dims[0].errors for a in report.artifacts if a.dims]
    edges = [e for h in histograms for i, n in enumerate(h.counts) if n for e in _bin(h, i)]
    limits = [1 - a.limits.cosine_p1_min for a in report.artifacts]
    high = max([*edges, *(math.log10(v) for v in limits if v > 0)])
    return math.floor(min(edges)), math.ceil(high)


def _bin(histogram: ErrorHistogram, i: int) -> tuple[float, float]:
    low = histogram.low_exponent + i / histogram.per_decade
    return low, low + 1 / histogram.per_decade


def error_distribution(report: ParityReport, width: int, _: Words) -> str:
    """Draw how many texts have which error: a row for bf16, the noise floor, and each artifact."""
    rows: list[tuple[str, str, ErrorHistogram, float, float | None]] = [
        ("torch bf16", "noise", f.errors, 1 - f.cosine.p1, None) for f in report.noise_floor[:1]
    ]
    rows += [
        (a.name, a.format, d.errors, 1 - d.cosine.p1, 1 - a.limits.cosine_p1_min)
        for a in report.artifacts
        for d in a.dims[:1]
    ]
    step, top = 56, 2
    bottom = top + step * len(rows)
    svg = Svg(width, bottom + 40, label=_("Distribution of 1 − cosine to torch fp32"))
    axis = LogErrors(*_decades(report), left=8, right=width - 14)
    axis.draw(svg, top, bottom)
    for i, (name, kind, histogram, p1, limit) in enumerate(rows):
        base = top + step * (i + 1)
        most = max(histogram.counts)
        for at, count in enumerate(histogram.counts):
            if not count:
                continue
            low, high = _bin(histogram, at)
            x1, x2 = axis.x(10**low), axis.x(10**high)
            tall = max(1.5, 27 * count / most)
            svg.rect(
                x1 + 0.5,
                base - tall,
                x2 - x1 - 1,
                tall,
                style=f"bar {kind}",
                title=_.plural(
                    "%(name)s: %(count)s text", "%(name)s: %(count)s texts", count, name=name
                ),
            )
        svg.line(axis.left, base, axis.right, base)
        svg.line(axis.x(p1), base - 30, axis.x(p1), base, style="percentile")
        if limit is not None:
            svg.line(axis.x(limit), base - 30, axis.x(limit), base, style="limit")
        svg.text(axis.left, base - 36, name, style=f"label {kind}")
    svg.text(
        (axis.left + axis.right) / 2,
        bottom + 34,
        _("1 − cosine to torch fp32"),
        style="tick",
        anchor="middle",
    )
    return str(svg)


def errors_by_length(report: ParityReport, width: int, _: Words) -> str:
    """Draw median, 1st percentile and worst error of each artifact in each range of lengths."""
    shown = [a for a in report.artifacts if a.dims]
    labels = [b.label for b in shown[0].dims[0].lengths if b.texts]
    left = 14 + CHARACTER_WIDTH * max(len(a.name) for a in shown)
    top, step, head = 0, 17, 30
    bottom = top + len(labels) * (head + step * len(shown))
    svg = Svg(width, bottom + 40, label=_("1 − cosine to torch fp32 by length of text"))
    axis = LogErrors(*_decades(report), left=left, right=width - 14)
    axis.draw(svg, top + head - 8, bottom)
    y = float(top)
    for label in labels:
        texts = next(b.texts for b in shown[0].dims[0].lengths if b.label == label)
        count = _.plural("%(count)s text", "%(count)s texts", texts)
        words = _("%(length)s: %(texts)s", length=tokens_of(label, _), texts=count)
        svg.text(0, y + 15, words, style="label strong")
        y += head
        for a in shown:
            _length_row(svg, a, label, axis, y + step / 2, _)
            y += step
    svg.text(
        (axis.left + axis.right) / 2,
        bottom + 34,
        _("1 − cosine to torch fp32"),
        style="tick",
        anchor="middle",
    )
    return str(svg)


LENGTHS = {
    "up to N": "up to %(last)s tokens",
    "N to N": "%(first)s to %(last)s tokens",
    "over N": "over %(last)s tokens",
}


def tokens_of(label: str, _: Words) -> str:
    """Return a range of lengths as a phrase."""
    if label == "cut":
        return _("cut at the longest")
    tokens = label.removesuffix(" (the window)")
    numbers = NUMBER.findall(tokens)
    said = _(LENGTHS[NUMBER.sub("N", tokens)], first=numbers[0], last=numbers[-1])
    return said if tokens == label else said + _(" (the window)")


def _length_row(
    svg: Svg, a: ArtifactResult, label: str, axis: LogErrors, y: float, _: Words
) -> None:
    cosine = next((b.cosine for b in a.dims[0].lengths if b.label == label), None)
    svg.text(axis.left - 8, y + 4, a.name, style="tick", anchor="end")
    if cosine is None:
        return
    middle, p1, worst = (axis.x(1 - c) for c in (cosine.median, cosine.p1, cosine.minimum))
    svg.line(middle, y, worst, y, style=f"whisker thin {a.format}")
    svg.line(middle, y, p1, y, style=f"whisker {a.format}")
    said = _(
        "%(name)s: median %(median)s, worst %(worst)s",
        name=a.name,
        median=f"{1 - cosine.median:.1e}",
        worst=f"{1 - cosine.minimum:.1e}",
    )
    svg.circle(middle, y, 4.5, style=f"mark {a.format}", title=said)
    svg.line(worst, y - 4, worst, y + 4, style=f"whisker {a.format}")


PART_STYLES = {
    "embedding table": "part-1",
    "attention": "part-2",
    "MLP": "part-3",
    "head": "part-4",
    "norms": "part-5",
    "other tensors": "part-6",
    "graph or vocabulary": "part-7",
}


def part_names(report: ParityReport, _: Words = ENGLISH) -> list[tuple[str, str]]:
    """Return (part, style) of all parts that occur, for the legend."""
    present = {p.part for a in report.artifacts for p in a.parts}
    return [(_(part), style) for part, style in PART_STYLES.items() if part in present]


def sizes_of_parts(report: ParityReport, width: int, _: Words) -> str:
    """Draw each artifact's bytes as a bar of its parts, all on one scale."""
    shown = sorted(report.artifacts, key=lambda a: (-a.size_bytes, a.name))
    step = 44
    svg = Svg(width, step * len(shown) + 4, label=_("Size of each part of each artifact"))
    scale = width / max(a.size_bytes for a in shown)
    for i, a in enumerate(shown):
        y = step * i
        svg.text(0, y + 14, a.name, style="label strong")
        svg.text(width, y + 14, f"{a.size_bytes / 1e6:,.1f} MB", style="tick", anchor="end")
        x = 0.0
        for part in a.parts:
            wide = part.size_bytes * scale
            svg.rect(
                x,
                y + 20,
                max(wide - 1, 0.5),
                16,
                style=PART_STYLES[part.part],
                title=f"{part.part}: {part.size_bytes / 1e6:,.2f} MB",
            )
            x += wide
    return str(svg)


def both_widths(plot: Plot, report: ParityReport, words: Words) -> Sequence[tuple[str, str]]:
    """Return (class, svg) for a wide and a narrow window."""
    return [("wide", plot(report, WIDE, words)), ("narrow", plot(report, NARROW, words))]
