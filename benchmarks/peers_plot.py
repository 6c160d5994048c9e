"""Size against error: a point a file, this project's in colour."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peer_files import NOISE

OURS, OTHERS, INK, FAINT = "#1f6f8b", "#9a9a9a", "#333333", "#dddddd"
LEAST = 2e-7
"""Errors below are float32's own rounding, more or less, and are drawn here."""
LINE, LETTER = 0.03, 0.0089
"""Height of a label and width of its letters, as parts of the plot's."""


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Draw the median of 1 - cosine against megabytes, a hair up to the worst text."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = {n: r for n, r in found["rows"].items() if n != NOISE}
    if not rows:
        return
    dim = str(found["about"]["dims"][0])
    figure, axes = plt.subplots(figsize=(9.5, 6), layout="constrained")
    axes.set_xscale("log")
    axes.set_yscale("log")
    noise = found["rows"][NOISE]["errors"][dim]["median"]
    axes.axhline(max(noise, LEAST), color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    points, hairs = [], []
    for name, row in rows.items():
        error = row["errors"][dim]
        colour = OURS if name.startswith(("ours", "artifact")) else OTHERS
        median, worst = max(error["median"], LEAST), max(error["worst"], LEAST)
        axes.plot([row["mb"]] * 2, [median, worst], color=colour, linewidth=1, alpha=0.45, zorder=2)
        axes.plot(
            row["mb"],
            median,
            _marker(name),
            color=colour,
            markersize=7,
            markeredgecolor="white",
            markeredgewidth=0.8,
            zorder=4 if colour == OURS else 3,
        )
        points.append((row["mb"], median, name, colour))
        hairs.append(((row["mb"], median), (row["mb"], worst)))
    sizes = [size for size, *_ in points]
    axes.set_xlim(min(sizes) / 1.25, max(sizes) * 1.35)
    axes.set_ylim(LEAST / 1.8, max(r["errors"][dim]["worst"] for r in rows.values()) * 2)
    axes.annotate(
        "torch bf16",
        (1, max(noise, LEAST)),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=8.5,
        color=INK,
        xytext=(-4, 2),
        textcoords="offset points",
    )
    _label(axes, points, hairs)
    _axes(axes, found["about"])
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _marker(name: str) -> str:
    if "GGUF" in name or "llama" in name or "gguf" in name:
        return "^"
    return "s" if any(part in name for part in ("OpenVINO", "NNCF", "intel")) else "o"


def _label(
    axes: Any,
    points: list[tuple[float, float, str, str]],
    hairs: list[tuple[tuple[float, float], tuple[float, float]]],
) -> None:
    """Write names beside points, in the nearest free place; a line leads to one that is far."""
    to_axes = axes.transData + axes.transAxes.inverted()
    at = {name: tuple(to_axes.transform((x, y))) for x, y, name, _ in points}
    taken: list[Box] = [(x - 0.007, y - 0.012, x + 0.007, y + 0.012) for x, y in at.values()]
    for low, high in (to_axes.transform(hair) for hair in hairs):
        taken.append((low[0] - 0.001, low[1], high[0] + 0.001, high[1]))
    for _, _, name, colour in sorted(points, key=lambda point: point[3] != OURS):
        x, y = at[name]
        width = LETTER * len(name) * (1.08 if colour == OURS else 1)
        box, right = _free_place(x, y, width, taken)
        taken.append(box)
        middle = (box[1] + box[3]) / 2
        label = axes.annotate(
            name,
            (box[0] if right else box[2], middle),
            xycoords="axes fraction",
            va="center",
            ha="left" if right else "right",
            fontsize=8.5,
            zorder=4,
            color=OURS if colour == OURS else "#555555",
            fontweight="bold" if colour == OURS else "normal",
        )
        label.set_in_layout(False)
        if abs(middle - y) > LINE / 2:
            end = box[0] - 0.002 if right else box[2] + 0.002
            axes.plot(
                [x, end],
                [y, middle],
                transform=axes.transAxes,
                color=colour,
                linewidth=0.7,
                alpha=0.7,
                zorder=2,
            )


Box = tuple[float, float, float, float]
"""Left, bottom, right, top, as parts of the plot's size."""


def _free_place(x: float, y: float, width: float, taken: list[Box]) -> tuple[Box, bool]:
    """Return the nearest box for a label that covers nothing, and whether it is to the right."""
    for step in range(60):
        for sign in (1, -1):
            for right in (True, False):
                # A label that moved up or down moves away a little, so that its line is seen.
                gap = 0.011 + 0.0015 * step
                left = x + gap if right else x - gap - width
                bottom = y + sign * step * LINE / 6 - LINE / 2
                box = (left, bottom, left + width, bottom + LINE)
                inside = left > 0.005 and box[2] < 0.995 and bottom > 0 and box[3] < 1
                if inside and not any(_cover(box, other) for other in taken):
                    return box, right
    return (x + 0.011, y - LINE / 2, x + 0.011 + width, y + LINE / 2), True


def _cover(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _axes(axes: Any, about: Mapping[str, Any]) -> None:
    from matplotlib import ticker

    axes.set_xlabel("megabytes (log)")
    axes.set_ylabel("1 - cosine to torch fp32 (log): median, hair to the worst text")
    axes.set_title(
        f"{about['checkpoint']} on {about['corpus']}: {about['documents']:,} documents, "
        f"{about['questions']:,} questions",
        loc="left",
        fontsize=10.5,
        color=INK,
    )
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.grid(visible=True, which="major", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    handles = [
        axes.plot([], [], marker, color="#777777", label=label, linestyle="none")[0]
        for marker, label in (("o", "onnxruntime"), ("s", "OpenVINO"), ("^", "llama.cpp"))
    ]
    axes.legend(handles=handles, loc="lower left", frameon=False, fontsize=8.5)
