"""This tool's ONNX artifacts beside those of optimum, sentence-transformers and OpenVINO.

    python -m benchmarks.peers [--checkpoint FOLDER] [--output FOLDER] [--rounds 5]

Without a checkpoint, one of EmbeddingGemma-300M's size with random weights is made. Every peer is
exported in a process of its own (seconds, peak memory), loaded in one (seconds, peak memory), and
then all take turns on the same token ids, round by round: medians count, and ratios within one run.
Peers that are not installed (`pip install '.[bench]'`) are left out by name. Writes peers.json,
peers.md and peers.png.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peer_files import PEERS, Ids, installed_names

SHAPES = {"8x128": (8, 128), "32x64": (32, 64), "1x24": (1, 24), "1x128": (1, 128)}
BASE = "optimum int8"


def folder_of(root: Path, name: str) -> Path:
    return root / name.replace(" ", "-")


def alone(step: str, name: str, source: Path, folder: Path) -> dict[str, float]:
    """Run one step in a process of its own. Returns its seconds and peak memory in MB."""
    command = [sys.executable, "-m", "benchmarks.peers", "--step", step, name, str(source)]
    ran = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{step} {name}: {ran.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def run_step(step: str, name: str, source: Path, folder: Path) -> None:
    """Do what `alone` asked for, and print its cost."""
    peer = PEERS[name]
    with contextlib.redirect_stdout(sys.stderr):
        for module in ("torch", "onnxruntime", "openvino"):
            if step == "load" and util.find_spec(module) and (module != "torch" or "torch" in name):
                __import__(module)  # importing is not loading
        began = time.perf_counter()
        if step == "export":
            peer.export(source, folder)
        else:
            run = peer.load(folder)
        seconds = time.perf_counter() - began
        if step == "load":
            run(*inputs(8, 128))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform != "darwin" else 2**20
    )
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def inputs(batch: int, length: int) -> tuple[Ids, Ids]:
    ids = np.random.default_rng(length).integers(4, 250, (batch, length)).astype(np.int64)
    ids[:, 0], ids[:, -1] = 2, 1
    return ids, np.ones_like(ids)


def size_mb(folder: Path) -> float:
    weights = (".onnx", ".onnx_data", ".onnx.data", ".bin", ".xml", ".gguf")
    files = [p for p in folder.rglob("*") if p.is_file() and p.name.endswith(weights)]
    quantized = [p for p in files if "_q" in p.name]
    return sum(p.stat().st_size for p in quantized or files) / 1e6


def measure(checkpoint: Path, root: Path, rounds: int, names: list[str]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name in names:
        peer = PEERS[name]
        folder = folder_of(root, name)
        source = folder_of(root, peer.after) if peer.after else checkpoint
        try:
            export = {} if folder.exists() else alone("export", name, source, folder)
            load = alone("load", name, source, folder)
        except RuntimeError as error:
            print(f"left out: {error}", file=sys.stderr, flush=True)
            continue
        results[name] = {"export": export, "load": load, "mb": round(size_mb(folder), 1), "ms": {}}
        print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
    running = {name: PEERS[name].load(folder_of(root, name)) for name in results}
    truth = running.get("torch fp32", next(iter(running.values())))
    for label, (batch, length) in SHAPES.items():
        fed = inputs(batch, length)
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
        "| | MB | tokens/s 8x128 | x optimum int8 | tokens/s 32x64 | ms 1x24 | ms 1x128 | load s "
        "| load peak MB | export s | export peak MB |",
        "| --- |" + " --- |" * 10,
    ]
    for name, r in results.items():
        ms, export = r["ms"], r["export"]
        ratio = f"{base['ms']['8x128'] / ms['8x128']:.2f}" if base else ""
        cells = [
            f"{r['mb']:,.0f}" if r["mb"] else "", f"{8 * 128e3 / ms['8x128']:,.0f}", ratio,
            f"{32 * 64e3 / ms['32x64']:,.0f}", f"{ms['1x24']:.1f}", f"{ms['1x128']:.1f}",
            f"{r['load']['seconds']:.1f}", f"{r['load']['peak_mb']:,.0f}",
            f"{export['seconds']:.0f}" if export and r["mb"] else "",
            f"{export['peak_mb']:,.0f}" if export and r["mb"] else "",
        ]  # fmt: skip
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--work", type=Path, help="keep the exported files here")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="names of peers, separated by commas")
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step, name, source, folder = arguments.step
        run_step(step, name, Path(source), Path(folder))
        return
    names = arguments.only.split(",") if arguments.only else list(PEERS)
    installed = installed_names()
    missing = {n for n in names if not installed.issuperset(PEERS[n].needs)}
    for name in sorted(missing):
        print(f"left out: {name} (not installed: {', '.join(PEERS[name].needs)})", file=sys.stderr)
    root = arguments.work or Path(tempfile.mkdtemp())
    root.mkdir(parents=True, exist_ok=True)
    try:
        checkpoint = arguments.checkpoint or root / "checkpoint"
        if not checkpoint.exists():
            from parity_tests.full_size import make_full_size

            make_full_size(checkpoint)
        results = measure(
            checkpoint.resolve(), root.resolve(), arguments.rounds,
            [n for n in names if n not in missing],
        )  # fmt: skip
    finally:
        if arguments.work is None:
            shutil.rmtree(root)
    arguments.output.mkdir(parents=True, exist_ok=True)
    packages = ("onnxruntime", "torch", "optimum-onnx", "openvino", "nncf")
    versions = {name: metadata.version(name) for name in packages if name in installed}
    about = {"machine": platform.machine(), "cores": os.cpu_count(), "versions": versions}
    (arguments.output / "peers.json").write_text(
        json.dumps({"about": about, "results": results}, indent=1) + "\n", "utf-8"
    )
    (arguments.output / "peers.md").write_text(table(results), "utf-8")
    plot(results, arguments.output / "peers.png")
    print(table(results))


if __name__ == "__main__":
    main()
