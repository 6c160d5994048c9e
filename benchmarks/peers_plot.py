"""Size against error: a point a file, this project's in colour."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peer_files import NOISE

OURS, OTHERS, INK, FAINT = "#1f6f8b", "#9a9a9a", "#333333", "#dddddd"
LEAST = 1e-7
"""Errors below are float32's own rounding and are drawn here."""
LINE = 0.034
"""Height of a label, as a part of the plot's."""


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
    points = []
    for name, row in rows.items():
        error = row["errors"][dim]
        colour = OURS if name.startswith(("ours", "artifact")) else OTHERS
        median, worst = max(error["median"], LEAST), max(error["worst"], LEAST)
        axes.plot([row["mb"]] * 2, [median, worst], color=colour, linewidth=1, alpha=0.45, zorder=2)
        axes.plot(row["mb"], median, _marker(name), color=colour, markersize=7,
                  markeredgecolor="white", markeredgewidth=0.8, zorder=3)  # fmt: skip
        points.append((row["mb"], median, name, colour))
    sizes = [size for size, *_ in points]
    axes.set_xlim(min(sizes) / 1.12, max(sizes) * 1.75)
    axes.set_ylim(LEAST / 2, max(r["errors"][dim]["worst"] for r in rows.values()) * 2)
    axes.annotate("torch bf16", (1, max(noise, LEAST)), xycoords=("axes fraction", "data"),
                  ha="right", va="bottom", fontsize=8.5, color=INK, xytext=(-4, 2),
                  textcoords="offset points")  # fmt: skip
    _label(axes, points)
    _axes(axes, found["about"])
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _marker(name: str) -> str:
    if "GGUF" in name or "llama" in name or "gguf" in name:
        return "^"
    return "s" if any(part in name for part in ("OpenVINO", "NNCF", "intel")) else "o"


def _label(axes: Any, points: list[tuple[float, float, str, str]]) -> None:
    """Write names to the right of points, moved apart where they would cover each other."""
    to_axes = axes.transData + axes.transAxes.inverted()
    placed: list[tuple[float, float, float]] = []
    for size, error, name, colour in sorted(points, key=lambda p: -p[1]):
        x, y = to_axes.transform((size, error))
        width = 0.0093 * len(name) + 0.02
        at = y
        while any(
            abs(at - other) < LINE and x < right and left < x + width
            for left, right, other in placed
        ):
            at -= LINE / 8
        placed.append((x, x + width, at))
        axes.annotate(
            name, (x + 0.011, at), xycoords="axes fraction", va="center", fontsize=8.5,
            color=OURS if colour == OURS else "#555555",
            fontweight="semibold" if colour == OURS else "normal", zorder=4,
        )  # fmt: skip
        if y - at > LINE / 2:
            axes.plot([x + 0.001, x + 0.009], [y, at], transform=axes.transAxes, color=colour,
                      linewidth=0.7, zorder=2)  # fmt: skip


def _axes(axes: Any, about: Mapping[str, Any]) -> None:
    from matplotlib import ticker

    axes.set_xlabel("megabytes (log)")
    axes.set_ylabel("1 - cosine to torch fp32 (log): median, hair to the worst text")
    axes.set_title(
        f"{about['checkpoint']} on {about['corpus']}: {about['documents']:,} documents, "
        f"{about['questions']:,} questions", loc="left", fontsize=10.5, color=INK,
    )  # fmt: skip
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
