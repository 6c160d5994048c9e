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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Run = Callable[[Ids, Ids], npt.NDArray[np.float32]]
SHAPES = {"8x128": (8, 128), "32x64": (32, 64), "1x24": (1, 24), "1x128": (1, 128)}
CALIBRATION_TEXTS = 64
BASE = "optimum int8"


@dataclass(frozen=True)
class Peer:
    """`export(checkpoint, folder)` writes, `load(folder)` returns what runs; `after`: peers whose
    folder it starts from; `needs`: distributions."""

    export: Callable[[Path, Path], None]
    load: Callable[[Path], Run]
    after: str = ""
    needs: tuple[str, ...] = ()


def ours(quant: str, **options: Any) -> Callable[[Path, Path], None]:
    def export(checkpoint: Path, folder: Path) -> None:
        from exporter.calibration.texts import read_calibration
        from exporter.checkpoint.read import read_checkpoint
        from exporter.onnx.export import export_onnx

        chosen = dict(options)
        if quant in ("int8", "q4", "fp16"):
            texts = folder.parent / "calibration.txt"
            texts.write_text("\n".join(read_calibration(None)[:CALIBRATION_TEXTS]), "utf-8")
            chosen["calibration"] = texts
        export_onnx(read_checkpoint(checkpoint), folder, quant=quant, **chosen)

    return export


def session(folder: Path, file: str = "model.onnx") -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    loaded = onnxruntime.InferenceSession(str(folder / file), options, ["CPUExecutionProvider"])
    names = {i.name for i in loaded.get_inputs()}

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        feed = {name: value for name, value in feed.items() if name in names}
        return np.asarray(loaded.run(["sentence_embedding"], feed)[0])

    return run


def optimum_fp32(checkpoint: Path, folder: Path) -> None:
    from exporter.checkpoint.read import read_checkpoint
    from exporter.onnx.export import export_onnx

    export_onnx(read_checkpoint(checkpoint), folder, graph="traced")


def optimum_int8(source: Path, folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder.mkdir(parents=True)
    quantize_dynamic(
        source / "model.onnx", folder / "model.onnx", per_channel=True, weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )  # fmt: skip


def st_int8(checkpoint: Path, folder: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    model = SentenceTransformer(
        str(checkpoint), backend="onnx", device="cpu",
        model_kwargs={"provider": "CPUExecutionProvider", "export": True},
    )  # fmt: skip
    with torch.inference_mode():
        folder.mkdir(parents=True)
        model.save_pretrained(str(folder))
        export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(folder))


def load_st(folder: Path) -> Run:
    import torch
    from sentence_transformers import SentenceTransformer

    files = [p.name for p in (folder / "onnx").glob("*quint8*.onnx")] or [
        p.name for p in (folder / "onnx").glob("model_q*.onnx")
    ]
    model = SentenceTransformer(
        str(folder), backend="onnx", device="cpu",
        model_kwargs={"file_name": f"onnx/{files[0]}", "provider": "CPUExecutionProvider"},
    )  # fmt: skip

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            features = {
                "input_ids": torch.from_numpy(ids),
                "attention_mask": torch.from_numpy(mask),
            }
            return model(features)["sentence_embedding"].numpy()

    return run


def features(ids: Ids, mask: Ids) -> dict[str, Any]:
    import torch

    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def copy(source: Path, folder: Path) -> None:
    """OpenVINO and torch read what is there already."""
    folder.mkdir(parents=True)
    (folder / "source").symlink_to(source)


def load_openvino(folder: Path) -> Run:
    import openvino

    found = folder / "model.xml"
    core = openvino.Core()
    model = core.read_model(found if found.is_file() else folder / "source" / "model.onnx")
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = {port.get_any_name() for port in compiled.inputs}

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        result = compiled({k: v for k, v in feed.items() if k in names})
        return np.asarray(result["sentence_embedding"])

    return run


def nncf_int8(source: Path, folder: Path) -> None:
    import nncf
    import openvino
    from tokenizers import Tokenizer

    from exporter.calibration.texts import read_calibration

    model = openvino.Core().read_model(source / "model.onnx")
    names = {port.get_any_name() for port in model.inputs}
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()

    def feed(text: str) -> dict[str, Ids]:
        ids = np.array([tokenizer.encode(text).ids[:512]], np.int64)
        given = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
        return {k: v for k, v in given.items() if k in names}

    texts = read_calibration(None)[:CALIBRATION_TEXTS]
    quantized = nncf.quantize(
        model, nncf.Dataset(texts, feed), model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED, subset_size=len(texts),
    )  # fmt: skip
    folder.mkdir(parents=True)
    openvino.save_model(quantized, folder / "model.xml", compress_to_fp16=False)


def load_torch(folder: Path) -> Run:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str((folder / "source").resolve()), device="cpu", model_kwargs={"torch_dtype": "float32"}
    )

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            features = {
                "input_ids": torch.from_numpy(ids),
                "attention_mask": torch.from_numpy(mask),
            }
            return model(features)["sentence_embedding"].numpy()

    return run


PEERS: Mapping[str, Peer] = {
    "torch fp32": Peer(copy, load_torch, needs=("sentence-transformers",)),
    "ours fp32": Peer(ours("none"), session),
    "ours fp32 cpu23": Peer(ours("none", flavour="cpu23"), session),
    "ours int8": Peer(ours("int8", head_correction="off"), session),
    "ours int8 cpu23": Peer(ours("int8", head_correction="off", flavour="cpu23"), session),
    "ours int8 corrected": Peer(ours("int8", head_correction="on"), session),
    "ours q4": Peer(ours("q4", head_correction="off"), session),
    "optimum fp32": Peer(optimum_fp32, session, needs=("optimum-onnx",)),
    "optimum int8": Peer(optimum_int8, session, after="optimum fp32", needs=("optimum-onnx",)),
    "sentence-transformers int8": Peer(st_int8, load_st, needs=("optimum-onnx",)),
    "OpenVINO fp32": Peer(copy, load_openvino, after="optimum fp32", needs=("openvino",)),
    "OpenVINO NNCF int8": Peer(
        nncf_int8, load_openvino, after="optimum fp32", needs=("openvino", "nncf")
    ),
}  # fmt: skip


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
    weights = (".onnx", ".onnx_data", ".onnx.data", ".bin", ".xml")
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
    installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
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
