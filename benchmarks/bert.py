"""A BERT checkpoint in every width: how far from torch, and what the gate says.

python -m benchmarks.bert --checkpoint FOLDER [--corpus BEIR --calibration FILE]

Without --corpus, the invented English ordinances of `benchmarks.english_towns`: eight hundred
articles, as many questions, and texts for calibration of towns that none of them names. 1 - cosine
and the largest difference of a component are to torch float32, over all articles and questions.
"""

import argparse
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.english_towns import write_calibration, write_corpus
from benchmarks.machine import about, lines
from exporter.api import export, judge
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import Corpus, read_corpus
from exporter.formats.open import open_artifact
from exporter.manifest import Manifest
from exporter.runtimes.torch_reference import TorchReference
from exporter.vectors.rows import Vectors

MADE: tuple[tuple[str, str], ...] = (
    ("onnx", "fp32"),
    ("onnx", "fp16"),
    ("onnx", "int8"),
    ("onnx", "q4"),
    ("openvino", "fp32"),
    ("openvino", "int8"),
    ("gguf", "f32"),
    ("gguf", "q8_0"),
    ("gguf", "q4_k_m"),
)
"""Format and scheme."""
MEASURING = ("fp16", "int8", "q4", "q8_0", "q4_k_m")


@dataclass(frozen=True)
class Given:
    """What is measured on. `texts`: those of the corpus, their prompts applied."""

    checkpoint: Checkpoint
    corpus: Corpus
    texts: list[str]
    truth: Vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--calibration", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        corpus = arguments.corpus or write_corpus(folder / "towns")
        own = arguments.calibration or write_calibration(folder / "calibration.jsonl")
        given = _given(read_checkpoint(arguments.checkpoint), read_corpus(corpus))
        print("\n".join([*lines(about(given.checkpoint, sys.argv[1:])), ""]))
        print(f"{given.corpus.name}: {len(given.texts)} texts. To torch float32:\n")
        print("| artifact | fitted on | MB | median | p99 | worst | a component | verdict |")
        print("| --- | --- |" + " ---: |" * 5 + " --- |")
        for fitted, calibration in ((own.name, own), ("bundled, Chinese", None)):
            _measure(given, folder / (calibration or Path("bundled")).name, fitted, calibration)


def _given(checkpoint: Checkpoint, corpus: Corpus) -> Given:
    p = checkpoint.prompts
    texts = [p.render_query(text) for text in corpus.queries]
    texts += [
        p.render_document(text, title=title)
        for text, title in zip(corpus.texts, corpus.titles, strict=True)
    ]
    with closing(TorchReference(checkpoint, dtype="float32")) as reference:
        return Given(checkpoint, corpus, texts, reference.encode(texts))


def _measure(given: Given, folder: Path, fitted: str, calibration: Path | None) -> None:
    """Export and print all artifacts that are fitted on these texts. Those fitted on the bundled
    ones are not judged: they are for comparison alone."""
    kinds = [kind for kind in MADE if calibration is not None or kind[1] in MEASURING]
    places = [folder.with_suffix("") / "-".join(kind) for kind in kinds]
    manifests = [
        export(
            given.checkpoint,
            place,
            format=name,
            scheme=scheme,
            calibration=calibration if scheme in MEASURING else None,
            **({"imatrix": "on"} if name == "gguf" and scheme in MEASURING else {}),
        )
        for (name, scheme), place in zip(kinds, places, strict=True)
    ]
    verdicts = [""] * len(places)
    if calibration is not None:
        report = judge(places, given.checkpoint, corpus=given.corpus)
        verdicts = [result.verdict for result in report.artifacts]
    for place, manifest, verdict in zip(places, manifests, verdicts, strict=True):
        measured = fitted if manifest.scheme in MEASURING else ""
        print(_row(given, place, manifest, verdict, measured), flush=True)


def _row(given: Given, place: Path, manifest: Manifest, verdict: str, fitted: str) -> str:
    with closing(open_artifact(place)) as encoder:
        found = encoder.encode(given.texts)
    off = np.maximum(1 - (found.astype(np.float64) * given.truth).sum(axis=1), 0)
    figures = (np.median(off), np.percentile(off, 99), off.max(), np.abs(found - given.truth).max())
    shown = " | ".join(f"{value:.1e}" for value in figures)
    size = f"{manifest.size_bytes / 1e6:,.1f}"
    return f"| {manifest.name} | {fitted} | {size} | {shown} | {verdict} |"


if __name__ == "__main__":
    main()
