"""Plots as inline SVG: no library, no network, colours from the page's own style sheet.

Each function returns markup whose texts are escaped. Classes: `c0` ... `c7` for series, `axis`,
`grid`, `label`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 640, 150, 24, 14, 40
SERIES = 8
LEAST = 1e-9  # where a logarithmic axis of 1 - cosine ends: float32 says no more


@dataclass(frozen=True)
class Axis:
    """A horizontal or vertical scale from `low` to `high` onto pixels `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the pixel of a value, kept inside."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 1)


def size_and_quality(points: Sequence[tuple[str, float, float, float, float]], *, y: str) -> str:
    """Return points with intervals. points: (name, MB, mean, low, high); `y` names the measure."""
    height = 300
    sizes = [size for _, size, _, _, _ in points]
    lows = [low for _, _, _, low, _ in points]
    highs = [high for _, _, _, _, high in points]
    x = Axis(0, max(sizes) * 1.12, LEFT - 80, WIDTH - RIGHT)
    span = max([*highs, 0.002]) - min([*lows, -0.002])
    v = Axis(min([*lows, -0.002]) - span * 0.12, max([*highs, 0.002]) + span * 0.12,
             height - BOTTOM, TOP)  # fmt: skip
    parts = _ticks_x(x, _round_ticks(0, x.high), height, "{:g}")
    for tick in _round_ticks(v.low, v.high):
        parts.append(_line(LEFT - 80, v.at(tick), WIDTH - RIGHT, v.at(tick), "grid"))
        parts.append(_text(LEFT - 86, v.at(tick) + 4, f"{tick:+.3f}", "end"))
    parts.append(_line(LEFT - 80, v.at(0), WIDTH - RIGHT, v.at(0), "axis"))
    for i, (name, size, mean, low, high) in enumerate(points):
        at, shown = x.at(size), f"{name}: {size:.1f} MB, {mean:+.4f} [{low:+.4f}, {high:+.4f}]"
        parts.append(f'<g class="c{i % SERIES}"><title>{escape(shown)}</title>'
                     + _line(at, v.at(low), at, v.at(high), "bar")
                     + f'<circle cx="{at}" cy="{v.at(mean)}" r="5"/></g>')  # fmt: skip
    parts.append(_text((LEFT - 80 + WIDTH) / 2, height - 6, "MB", "middle"))
    return _svg(height, parts, f"size against {y}")


def error_ranges(rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Return a bar for each row from its 5th to its 95th percentile, a mark at the median, on a
    logarithmic axis. rows: (name, 1 - cosine at 0 %, 5 %, ... 100 %)."""
    height = TOP + BOTTOM + 26 * len(rows)
    x = _log_axis([value for _, q in rows for value in (q[1], q[-1])])
    parts = _log_ticks(x, height)
    for i, (name, q) in enumerate(rows):
        y = TOP + 26 * i + 13
        low, middle, high, worst = (x.at(_log(q[j])) for j in (1, 10, 19, 20))
        shown = f"{name}: median {q[10]:.1e}, 95 % under {q[19]:.1e}, worst {q[20]:.1e}"
        parts.append(
            f'<g class="c{i % SERIES}"><title>{escape(shown)}</title>'
            + _line(low, y, worst, y, "whisker") + _line(low, y, high, y, "thick")
            + f'<circle cx="{middle}" cy="{y}" r="5"/></g>' + _text(LEFT - 8, y + 4, name, "end")
        )  # fmt: skip
    parts.append(_text((LEFT + WIDTH) / 2, height - 6, "1 - cosine to torch fp32", "middle"))
    return _svg(height, parts, "distribution of errors")


def error_by_length(
    labels: Sequence[str], series: Sequence[tuple[str, Sequence[float | None]]]
) -> str:
    """Return median errors by range of lengths, a row a range and a point a series. series: (name,
    median 1 - cosine by label, None where there are no texts)."""
    height = TOP + BOTTOM + 30 * len(labels)
    x = _log_axis([v for _, values in series for v in values if v is not None])
    parts = _log_ticks(x, height)
    for row, label in enumerate(labels):
        y = TOP + 30 * row + 15
        parts.append(_text(LEFT - 8, y + 4, label, "end"))
        for i, (name, values) in enumerate(series):
            value = values[row]
            if value is not None:
                shown = f"{name}, {label}: median {value:.1e}"
                parts.append(f'<g class="c{i % SERIES}"><title>{escape(shown)}</title><circle '
                             f'cx="{x.at(_log(value))}" cy="{y}" r="5"/></g>')  # fmt: skip
    parts.append(_text((LEFT + WIDTH) / 2, height - 6, "median of 1 - cosine", "middle"))
    return _svg(height, parts, "errors by length of text")


def stacked_sizes(rows: Sequence[tuple[str, Mapping[str, int]]], *, parts_of: Sequence[str]) -> str:
    """Return a bar of bytes for each row, cut into parts. rows: (name, bytes by part)."""
    height = TOP + BOTTOM + 26 * len(rows)
    most = max((sum(sizes.values()) for _, sizes in rows), default=1) / 1e6
    x = Axis(0, most * 1.02, LEFT, WIDTH - RIGHT)
    made = _ticks_x(x, _round_ticks(0, x.high), height, "{:g}")
    for i, (name, sizes) in enumerate(rows):
        y, done = TOP + 26 * i + 4, 0.0
        made.append(_text(LEFT - 8, y + 13, name, "end"))
        for at, part in enumerate(parts_of):
            size = sizes.get(part, 0) / 1e6
            left, right = x.at(done), x.at(done + size)
            done += size
            shown = escape(f"{name}, {part}: {size:.1f} MB")
            made.append(f'<g class="c{at}"><title>{shown}</title>'
                        f'<rect x="{left}" y="{y}" width="{max(0.0, round(right - left, 1))}" '
                        'height="18"/></g>')  # fmt: skip
    made.append(_text((LEFT + WIDTH) / 2, height - 6, "MB", "middle"))
    return _svg(height, made, "size by part of the model")


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return (f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
            + "".join(parts) + "</svg>")  # fmt: skip


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (f'<text class="label" x="{x:g}" y="{y:g}" text-anchor="{anchor}">'
            f"{escape(text)}</text>")  # fmt: skip


def _log(value: float) -> float:
    return math.log10(max(value, LEAST))


def _log_axis(values: Sequence[float]) -> Axis:
    logs = [_log(v) for v in values] or [-9.0]
    return Axis(math.floor(min(logs)), math.ceil(max(logs) + 1e-9), LEFT, WIDTH - RIGHT)


def _log_ticks(x: Axis, height: float) -> list[str]:
    return _ticks_x(x, range(int(x.low), int(x.high) + 1), height, "1e{:g}")


def _ticks_x(x: Axis, ticks: Sequence[float], height: float, shape: str) -> list[str]:
    return [
        _line(x.at(t), TOP, x.at(t), height - BOTTOM, "grid")
        + _text(x.at(t), height - BOTTOM + 16, shape.format(t), "middle")
        for t in ticks
    ]


def _round_ticks(low: float, high: float) -> list[float]:
    """Return four to eight round numbers between."""
    step = 10 ** math.floor(math.log10((high - low) or 1.0))
    for part in (1.0, 0.5, 0.2, 0.1):
        first, last = math.ceil(low / (step * part)), math.floor(high / (step * part))
        if last - first >= 3:
            return [round(i * step * part, 10) for i in range(first, last + 1)]
    return [low, high]
