"""What each peer's file makes of retrieval, on the miniature and on its hardened twin.

    python -m benchmarks.peers_quality [--corpus FOLDER] [--documents N] [--only NAME,NAME]

The twin is the same function with outlier channels, as larger models have them. Files are made as
in benchmarks/peers.py and fed the same token ids in padded batches of eight, in the corpus's order,
as an application sends them. onnxruntime's CPU computes most of a float16 graph in float32, so
plain fp16 looks sound here; on a GPU the twin overflows in it. Figures are against torch: 1 -
cosine and overlap@10 against fp32, MRR@10 against bf16. Writes peers_quality_CORPUS.md, .json and
.png to benchmarks/results/.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_files import PEERS, ROUGH, Peer, Run, installed_names
from benchmarks.quality import COLUMNS, Figures, Yardstick, part_of
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.runtimes.batching import load_tokenizer, padded, token_rows
from exporter.runtimes.encoder import Vectors
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE
from parity_tests.miniature.harden import harden

BATCH = 8
NAMES = (
    "ours fp32", "ours fp16", "optimum plain fp16", "ours int8", "ours int8 corrected",
    "optimum int8", "sentence-transformers int8", "ours OpenVINO int8", "OpenVINO NNCF int8",
    "ours gguf q8_0", "llama.cpp q8_0", "ours q4 corrected", "optimum 4 bits to nearest",
    "ours gguf q4_k_m", "llama.cpp q4_k_m",
)  # fmt: skip


def encode(run: Run, rows: list[list[int]]) -> Vectors:
    """Return (n, dim) rows of length 1; NaN where the file gives NaN."""
    made = []
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        made.append(run(*padded(some, width=max(map(len, some)))))
    vectors = np.concatenate(made).astype(np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.full_like(vectors, np.nan), where=norms > 0)


class Twin:
    """One checkpoint, its yardstick, and a folder for the files made of it."""

    def __init__(self, checkpoint: Path, corpus: Any, work: Path) -> None:
        self.path, self.work = checkpoint, work
        self.work.mkdir()
        read = read_checkpoint(checkpoint)
        self.yardstick = Yardstick(read, corpus)
        tokenizer = load_tokenizer(checkpoint / "tokenizer.json", max_tokens=read.max_tokens)
        self.rows = token_rows(tokenizer, self.yardstick.texts)

    def judge(self, name: str) -> tuple[Figures, bool]:
        """Return the figures of a peer's file, and whether any of its vectors was NaN."""
        peer = every()[name]
        folder = self._made(name, peer)
        vectors = encode(peer.load(folder), self.rows)
        return self.yardstick.judge(vectors), not bool(np.isfinite(vectors).all())

    def _made(self, name: str, peer: Peer) -> Path:
        folder = self.work / name.replace(" ", "-")
        if not folder.exists():
            source = self._made(peer.after, every()[peer.after]) if peer.after else self.path
            peer.export(source.resolve(), folder)
        return folder


def every() -> dict[str, Peer]:
    return {**PEERS, **ROUGH}


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Return the figures as Markdown."""
    lines = [f"| | {COLUMNS} | hardened: {COLUMNS} |", "| --- |" + " --- |" * 6]
    for name, pair in results.items():
        cells = []
        for found in pair:
            nan = found["nan"]
            figures = Figures(**{k: v for k, v in found.items() if k != "nan"})
            cells.append("NaN | NaN | NaN" if nan else figures.cells)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = list(results)[::-1]
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(names) + 1.4), layout="constrained")
    for i, name in enumerate(names):
        colour = "#2a6fb0" if name.startswith("ours") else "#8a8a8a"
        drawn = []
        for found, marker in zip(results[name], "oD", strict=True):
            if not found["nan"]:
                axes.plot(max(found["error"], 1e-8), i, marker, color=colour,
                          fillstyle="full" if marker == "o" else "none")  # fmt: skip
                drawn.append(max(found["error"], 1e-8))
        if len(drawn) == 2:
            axes.plot(drawn, [i, i], color=colour, linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale("log")
    axes.set_xlabel("median of 1 - cosine to torch fp32; circle: miniature, diamond: hardened twin")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=MINIATURE)
    parser.add_argument("--corpus", type=Path, default=BUNDLED_CORPUS)
    parser.add_argument("--documents", type=int, help="so many of them; default: all")
    parser.add_argument("--only", help="names of peers, separated by commas")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    corpus = part_of(read_corpus(given.corpus), given.documents)
    names = given.only.split(",") if given.only else NAMES
    installed = installed_names()
    results: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        twins = [Twin(given.checkpoint, corpus, work / "plain"),
                 Twin(harden(given.checkpoint, work / "hard"), corpus, work / "twin")]  # fmt: skip
        results["torch bf16"] = [
            {**asdict(t.yardstick.judge(t.yardstick.used)), "nan": False} for t in twins
        ]
        for name in names:
            if not installed.issuperset(every()[name].needs):
                print(f"left out: {name} ({', '.join(every()[name].needs)})", file=sys.stderr)
                continue
            found = [twin.judge(name) for twin in twins]
            results[name] = [{**asdict(figures), "nan": nan} for figures, nan in found]
            print(table({name: results[name]}).splitlines()[-1], file=sys.stderr, flush=True)
    about = {"corpus": corpus.name, "documents": len(corpus.doc_ids),
             "questions": len(corpus.query_ids)}  # fmt: skip
    given.output.mkdir(parents=True, exist_ok=True)
    stem = given.output / f"peers_quality_{corpus.name}"
    stem.with_suffix(".json").write_text(
        json.dumps({"about": about, "results": results}, indent=1) + "\n", "utf-8"
    )
    shown = f"{about['documents']:,} documents, {about['questions']:,} questions of {corpus.name}"
    stem.with_suffix(".md").write_text(f"{shown}\n\n{table(results)}", "utf-8")
    plot(results, stem.with_suffix(".png"))
    print(shown, table(results), sep="\n\n")


if __name__ == "__main__":
    main()
