"""How fast the files of `benchmarks.peers_quality` are, and what making and loading them costs.

    python -m benchmarks.peers [--checkpoint FOLDER] [--work FOLDER] [--rounds 5] [--only NAME,NAME]

Without a checkpoint, one of EmbeddingGemma-300M's size with random weights is made. Every file is
made in a process of its own (seconds, peak memory), loaded in one (seconds, peak memory), and then
all take turns on the same token ids, round by round: medians count, and ratios within one run. All
files are in memory at once then: choose with --only where that is too much. With
the same --work, --prompts and --calibration as `benchmarks.peers_quality`, the very same files are
timed. Peers that are not installed (`pip install '.[bench]'`) are left out by name. Writes
peers.json, peers.md and peers.png.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.machine import about, lines
from benchmarks.peer_files import PEERS, SPEED, TRUTH, chosen_names, missing_needs
from benchmarks.peer_made import Job, folder_of
from benchmarks.peer_steps import Step, StepFailed, alone, token_inputs
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.common import parse_prompts
from exporter.corpus.calibration import read_calibration, write_calibration

SHAPES = {"8x128": (8, 128), "32x64": (32, 64), "1x24": (1, 24), "1x128": (1, 128)}
BASE = "optimum int8"
FEW_TEXTS = 64


def measure(job: Job, names: Sequence[str], *, rounds: int, step: Step = alone) -> dict[str, Any]:
    """Return for each file what it costs to make and load, and milliseconds by shape."""
    results: dict[str, Any] = {}
    for name in names:
        try:
            made, load = step("make", name, job), step("load", name, job)
        except StepFailed as failed:
            print(f"left out: {name} ({failed})", file=sys.stderr, flush=True)
            continue
        export = {"seconds": made["seconds"], "peak_mb": made["peak_mb"]}
        results[name] = {"export": export, "load": load, "mb": made["mb"], "ms": {}}
        print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
    checkpoint = read_checkpoint(job.checkpoint, prompts=job.prompts)
    running = {name: PEERS[name].load(folder_of(name, job, checkpoint)) for name in results}
    if not running:
        return results
    truth = running.get(TRUTH, next(iter(running.values())))
    for label, (batch, length) in SHAPES.items():
        fed = token_inputs(batch, length)
        expected = unit(truth(*fed))
        times: dict[str, list[float]] = {name: [] for name in running}
        repeat = 1 if batch > 1 else 4
        for name, run in running.items():
            cosine = float((unit(run(*fed)) * expected).sum(axis=1).min())
            results[name].setdefault("cosine", {})[label] = round(cosine, 6)
        for _ in range(rounds):
            for name, run in running.items():
                began = time.perf_counter()
                for _ in range(repeat):
                    run(*fed)
                times[name].append((time.perf_counter() - began) / repeat)
        for name, found in times.items():
            results[name]["ms"][label] = round(1e3 * statistics.median(found), 2)
    return results


def unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def table(results: dict[str, Any]) -> str:
    """Return the figures as Markdown, throughput also as a ratio to optimum's int8."""
    base = results.get(BASE)
    lines = [
        "| | MB | tokens/s 8x128 | x optimum int8 | tokens/s 32x64 | ms 1x24 | of optimum int8's "
        "| ms 1x128 | load s "
        "| load peak MB | export s | export peak MB |",
        "| --- |" + " --- |" * 11,
    ]
    for name, r in results.items():
        ms, export = r["ms"], r["export"]
        ratio = f"{base['ms']['8x128'] / ms['8x128']:.2f}" if base else ""
        wait = f"{ms['1x24'] / base['ms']['1x24']:.2f}" if base else ""
        cells = [
            f"{r['mb']:,.0f}" if r["mb"] else "",
            f"{8 * 128e3 / ms['8x128']:,.0f}",
            ratio,
            f"{32 * 64e3 / ms['32x64']:,.0f}",
            f"{ms['1x24']:.1f}",
            wait,
            f"{ms['1x128']:.1f}",
            f"{r['load']['seconds']:.1f}",
            f"{r['load']['peak_mb']:,.0f}",
            f"{export['seconds']:.0f}" if export and r["mb"] else "",
            f"{export['peak_mb']:,.0f}" if export and r["mb"] else "",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(results: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = sorted(results, key=lambda n: results[n]["ms"]["8x128"], reverse=True)
    speeds = [8 * 128e3 / results[n]["ms"]["8x128"] for n in names]
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(names) + 1.2), layout="constrained")
    colours = ["#2a6fb0" if n.startswith("ours") else "#b0b0b0" for n in names]
    bars = axes.barh(names, speeds, color=colours)
    axes.bar_label(bars, [f"{s:,.0f}" for s in speeds], padding=3)
    axes.set_xlabel("tokens/s, 8 texts of 128 tokens")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.savefig(path, dpi=130)


def few_texts(folder: Path) -> Path:
    """Write short calibration texts, enough for what is only timed."""
    texts = sorted(read_calibration(None), key=lambda text: (len(text.text), text.text))
    middle = len(texts) // 2
    file = folder / "calibration.jsonl"
    write_calibration(file, texts[middle : middle + FEW_TEXTS])
    return file


def run(arguments: list[str], *, step: Step = alone) -> Path:
    """Do all of it. Returns the Markdown file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--prompts", metavar="FILE|query=...,document=...", type=parse_prompts)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--work", type=Path, help="keep the files here")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="names of files, separated by commas")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args(arguments)
    names = chosen_names(given.only, SPEED)
    for name in names:
        if missing_needs(name):
            print(
                f"left out: {name} (not installed: {', '.join(missing_needs(name))})",
                file=sys.stderr,
            )
    root = (given.work or Path(tempfile.mkdtemp())).resolve()
    root.mkdir(parents=True, exist_ok=True)
    try:
        path, calibration = given.checkpoint, given.calibration
        if path is None:
            path = root / "checkpoint"
            calibration = calibration or few_texts(root)
            if not path.exists():
                from parity_tests.full_size import make_full_size

                make_full_size(path)
        job = Job(path.resolve(), given.prompts, calibration, root)
        usable = [name for name in names if not missing_needs(name)]
        results = measure(job, usable, rounds=given.rounds, step=step)
        described = about(read_checkpoint(job.checkpoint, prompts=job.prompts), arguments)
    finally:
        if given.work is None:
            shutil.rmtree(root)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "peers.json").write_text(
        json.dumps({"about": described, "results": results}, indent=1) + "\n", "utf-8"
    )
    text = f"{table(results)}\n{chr(10).join(lines(described))}\n"
    (given.output / "peers.md").write_text(text, "utf-8")
    plot(results, given.output / "peers.png")
    return given.output / "peers.md"


if __name__ == "__main__":
    print(run(sys.argv[1:]).read_text("utf-8"))
