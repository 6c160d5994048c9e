"""Time and peak memory of `export gguf` beside llama.cpp's own converter and quantizer.

python -m benchmarks.gguf_converter --upstream FOLDER [--checkpoint FOLDER] [--repeat 3]

FOLDER holds convert_hf_to_gguf.py, conversion/ and gguf-py/: vendor/llama.cpp in the source archive
of llama-cpp-python. Without --checkpoint, one of full size is made with random weights.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from parity_tests.full_size import make_full_size

QUANTIZE = """
import ctypes, sys, llama_cpp
source, target, kind = sys.argv[1:]
p = llama_cpp.llama_model_quantize_default_params()
p.ftype = int(kind)
sys.exit(llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(p)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--upstream", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = arguments.checkpoint or make_full_size(folder / "full")
        runs: dict[str, list[tuple[float, float]]] = {}
        whole = folder / "f32.gguf"
        run(converted(arguments.upstream, checkpoint, "f32", whole))
        for _ in range(arguments.repeat):  # by turns: what disturbs one disturbs the others
            for kind in ("f16", "q8_0"):
                target = folder / f"{kind}.gguf"
                command = converted(arguments.upstream, checkpoint, kind, target)
                runs.setdefault(f"convert_hf_to_gguf.py {kind}", []).append(run(command))
                runs.setdefault(f"export gguf --type {kind}", []).append(
                    run(exported(checkpoint, folder / "ours", kind))
                )
            quantize = [sys.executable, "-c", QUANTIZE, str(whole), str(folder / "q.gguf"), "15"]
            runs.setdefault("llama-quantize q4_k_m, from F32", []).append(run(quantize))
            for extra in ((), ("--imatrix", "off")):
                label = " ".join(("export gguf --type q4_k_m", *extra))
                command = exported(checkpoint, folder / "ours", "q4_k_m", *extra)
                runs.setdefault(label, []).append(run(command))
        print("| command | seconds, median | peak memory, MB |\n| --- | --- | --- |")
        for label, found in runs.items():
            seconds, peaks = zip(*found, strict=True)
            print(f"| {label} | {statistics.median(seconds):.1f} | {max(peaks):,.0f} |")


def converted(upstream: Path, checkpoint: Path, kind: str, target: Path) -> list[str]:
    """Return the converter's command line."""
    return [
        sys.executable,
        str(upstream / "convert_hf_to_gguf.py"),
        str(checkpoint),
        "--outtype",
        kind,
        "--outfile",
        str(target),
        "--sentence-transformers-dense-modules",
    ]


def exported(checkpoint: Path, output: Path, kind: str, *extra: str) -> list[str]:
    """Return this project's command line."""
    return [
        sys.executable,
        "-m",
        "exporter",
        "export",
        "gguf",
        "--checkpoint",
        str(checkpoint),
        "--type",
        kind,
        "--output",
        str(output),
        "--force",
        "--quiet",
        *extra,
    ]


def run(command: Sequence[str]) -> tuple[float, float]:
    """Run a command. Returns its seconds and its peak resident memory in MB (Linux)."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            sys.exit(errors.read().decode("utf-8", "replace")[-2000:])
    return time.perf_counter() - start, usage.ru_maxrss / 1000


if __name__ == "__main__":
    main()
