"""Widths chosen by a budget (`--budget`) against every uniform scheme of the same bytes.

python -m benchmarks.budget --checkpoint FOLDER --corpus BEIR --work FOLDER
    [--prompts query=...,document=...] [--vocabulary FOLDER] [--fit-on 64] [--texts 100]
    [--only onnx gguf] [--schemes q4 q4_0 ...] [--output FOLDER]

For each uniform scheme of a format a file is made, and one whose budget is that file's size: real
files in their own runtimes. Errors are 1 - cosine to the unrounded model (torch, float32) on
--texts questions of those that prove (`benchmarks.sampled`) and as many documents, none of which
anything was fitted on. All are fitted on the same --fit-on bundled calibration texts (a release
fits on all). `--vocabulary`: a folder of `lawvault vocabulary`; the same again with its pieces
only. Files in --work are kept. Writes budget.md and budget.png.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import about, lines
from benchmarks.sampled import by_hash, split
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.vocabulary import with_vocabulary
from exporter.cli.common import parse_prompts
from exporter.corpus.beir import read_corpus
from exporter.corpus.calibration import read_calibration, sample
from exporter.format import MIXED, format_of
from exporter.formats.open import open_artifact
from exporter.manifest import Manifest, read_manifest
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE

UNIFORM = {"onnx": ("q4", "int8"), "gguf": ("q4_0", "iq4_nl", "q4_k_m", "q5_k_m", "q6_k", "q8_0")}
CUT = {"onnx": ("q4",), "gguf": ("q4_0", "q4_k_m")}
"""Of those, whose files are made with a domain's pieces only too: the smallest."""
RESULTS = Path(__file__).parent / "results"
COLOURS = {"onnx": "#1f6f8b", "gguf": "#c4590a"}


@dataclass(frozen=True)
class Bench:
    """What every file is made of and measured on. `kept`: sensitivities, by checkpoint."""

    checkpoint: Checkpoint
    cut: Checkpoint | None
    texts: list[str]
    truth: Any
    calibration: Path
    work: Path

    def row(self, format_name: str, scheme: str, *, cut: bool, budget: int = 0) -> dict[str, Any]:
        """Return name, bytes and errors of a file, which is made unless it is there."""
        found = format_of(format_name)
        options = {"budget": f"{budget}"} if budget else {}
        name = found.artifact_name(scheme, options, cut=cut)
        manifest = self._made(self.work / name, format_name, scheme, options, cut=cut)
        with closing(open_artifact(self.work / name)) as encoder:
            vectors = encoder.encode(self.texts)
        errors = 1 - (vectors.astype(np.float64) * self.truth).sum(axis=1)
        return {
            "format": format_name,
            "scheme": scheme,
            "cut": cut,
            "bytes": manifest.size_bytes,
            "mean": float(errors.mean()),
            "median": float(np.median(errors)),
            "worst": float(errors.max()),
            "chosen": next((line for line in manifest.kept if "chosen for" in line), ""),
        }

    def _made(
        self, folder: Path, format_name: str, scheme: str, options: dict[str, Any], *, cut: bool
    ) -> Manifest:
        if folder.is_dir():
            return read_manifest(folder)
        print(f"making {folder.name}", file=sys.stderr, flush=True)
        found = format_of(format_name)
        checkpoint = self.cut if cut else self.checkpoint
        fitted = found.fitted(scheme, found.given(options))
        made: Manifest = found.resolve("export")(
            checkpoint,
            folder,
            scheme=scheme,
            calibration=self.calibration if fitted else None,
            keep=self.work / "kept",
            **options,
        )
        return made


def rows(bench: Bench, formats: list[str], schemes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield each uniform file's row, and behind it that of the budget of its size."""
    for cut in (False, True) if bench.cut else (False,):
        for name in formats:
            for scheme in (one for one in (CUT if cut else UNIFORM)[name] if one in schemes):
                uniform = bench.row(name, scheme, cut=cut)
                yield uniform
                yield bench.row(name, MIXED, cut=cut, budget=uniform["bytes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=MINIATURE)
    parser.add_argument("--prompts")
    parser.add_argument("--corpus", type=Path, default=BUNDLED_CORPUS)
    parser.add_argument("--vocabulary", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--fit-on", type=int, default=64)
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--only", nargs="*", choices=tuple(UNIFORM), default=list(UNIFORM))
    every = sorted({scheme for schemes in UNIFORM.values() for scheme in schemes})
    parser.add_argument("--schemes", nargs="*", choices=every, default=every)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    prompts = parse_prompts(arguments.prompts) if arguments.prompts else None
    bench = _bench(read_checkpoint(arguments.checkpoint, prompts=prompts), arguments)
    found = []
    for row in rows(bench, arguments.only, arguments.schemes):
        found.append(row)
        print(_cells(row), flush=True)
    header = lines(about(bench.checkpoint, sys.argv[1:]))
    arguments.output.mkdir(parents=True, exist_ok=True)
    text = _page(found, header, texts=len(bench.texts), fitted=arguments.fit_on)
    (arguments.output / "budget.md").write_text(text, "utf-8")
    _plot(found, arguments.output / "budget.png")


def _bench(checkpoint: Checkpoint, arguments: Any) -> Bench:
    asked = split(read_corpus(arguments.corpus), documents=None)
    corpus = asked.asked("proving")
    p = checkpoint.prompts
    questions = [corpus.queries[i] for i in by_hash(corpus.query_ids)[: arguments.texts]]
    documents = by_hash(corpus.doc_ids)[: arguments.texts]
    texts = [p.render_query(text) for text in questions]
    texts += [p.render_document(corpus.texts[i], title=corpus.titles[i]) for i in documents]
    arguments.work.mkdir(parents=True, exist_ok=True)
    calibration = arguments.work / "calibration.jsonl"
    fitted = sample(read_calibration(None), arguments.fit_on)
    calibration.write_text(
        "".join(json.dumps(vars(text), ensure_ascii=False) + "\n" for text in fitted), "utf-8"
    )
    folder = arguments.vocabulary
    return Bench(
        checkpoint,
        with_vocabulary(checkpoint, folder) if folder else None,
        texts,
        TorchReference(checkpoint, dtype="float32").encode(texts).astype(np.float64),
        calibration,
        arguments.work,
    )


def _cells(row: dict[str, Any]) -> str:
    name = f"{row['format']} {row['scheme']}" + (", the domain's pieces" if row["cut"] else "")
    return (
        f"| {name} | {row['bytes'] / 1e6:.1f} | {row['mean']:.2e} | {row['median']:.2e} | "
        f"{row['worst']:.2e} |"
    )


def _page(found: list[dict[str, Any]], header: list[str], *, texts: int, fitted: int) -> str:
    table = ["| file | MB | mean | median | worst | budget / uniform |", "| --- |" + " ---: |" * 5]
    for uniform, mixed in zip(found[::2], found[1::2], strict=True):
        table.append(_cells(uniform) + " |")
        table.append(_cells(mixed) + f" {mixed['mean'] / uniform['mean']:.2f} |")
    chosen = [
        f"- {row['format']}, {row['bytes'] / 1e6:.1f} MB: {row['chosen'].partition('in all: ')[2]}"
        for row in found
        if row["chosen"]
    ]
    return "\n".join(
        [
            "# Widths chosen by a budget",
            "",
            f"1 - cosine to the unrounded model on {texts} held-back texts, real files in their "
            f"runtimes, all fitted on the same {fitted} calibration texts. Each `mixed` has the "
            "size of the row above it as its budget.",
            "",
            *table,
            "",
            "![size against error](budget.png)",
            "",
            *chosen,
            "",
            *header,
            "",
        ]
    )


def _plot(found: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9.5, 6), layout="constrained")
    axes.set_yscale("log")
    for name, colour in COLOURS.items():
        for cut in (False, True):
            mine = [row for row in found if row["format"] == name and row["cut"] is cut]
            mixed = sorted(
                (row["bytes"] / 1e6, row["mean"]) for row in mine if row["scheme"] == MIXED
            )
            label = f"{name}, budget" + (", the domain's pieces" if cut else "")
            style = "--" if cut else "-"
            if mixed:
                axes.plot(*zip(*mixed, strict=True), style, color=colour, marker="o", label=label)
            for row in mine:
                if row["scheme"] != MIXED:
                    at = (row["bytes"] / 1e6, row["mean"])
                    axes.plot(*at, "x", color=colour, markersize=8)
                    axes.annotate(
                        row["scheme"], at, xytext=(6, 4), textcoords="offset points", fontsize=9
                    )
    axes.set_xlabel("MB")
    axes.set_ylabel("mean of 1 - cosine to the unrounded model")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
