"""LiteRT artifacts against torch, beside others of the same checkpoint.

python -m benchmarks.litert --checkpoint FOLDER --corpus BEIR [--prompts query=...,document=...]
    [--texts 50] ARTIFACT...

1 - cosine to the unrounded model (torch, float32) on --texts questions of those that prove
(`benchmarks.sampled`) and as many documents, by the hash of their ids.
"""

import argparse
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.machine import about, lines
from benchmarks.sampled import by_hash, split
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.common import parse_prompts
from exporter.corpus.beir import read_corpus
from exporter.formats.open import open_artifact
from exporter.manifest import read_manifest
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--checkpoint", type=Path, default=MINIATURE)
    parser.add_argument("--prompts")
    parser.add_argument("--corpus", type=Path, default=BUNDLED_CORPUS)
    parser.add_argument("--texts", type=int, default=50)
    arguments = parser.parse_args()
    prompts = parse_prompts(arguments.prompts) if arguments.prompts else None
    checkpoint = read_checkpoint(arguments.checkpoint, prompts=prompts)
    corpus = split(read_corpus(arguments.corpus), documents=6000).asked("proving")
    p = checkpoint.prompts
    asked = [corpus.queries[i] for i in by_hash(corpus.query_ids)[: arguments.texts]]
    held = by_hash(corpus.doc_ids)[: arguments.texts]
    texts = [p.render_query(text) for text in asked]
    texts += [p.render_document(corpus.texts[i], title=corpus.titles[i]) for i in held]
    truth = TorchReference(checkpoint, dtype="float32").encode(texts).astype(np.float64)
    print("\n".join([*lines(about(checkpoint, sys.argv[1:])), ""]))
    print("| file | MB | median | p99 | worst |\n| --- |" + " ---: |" * 4)
    for folder in arguments.artifacts:
        manifest = read_manifest(folder)
        with closing(open_artifact(folder)) as encoder:
            off = 1 - (encoder.encode(texts).astype(np.float64) * truth).sum(axis=1)
        figures = (np.median(off), np.percentile(off, 99), off.max())
        shown = " | ".join(f"{value:.1e}" for value in figures)
        print(f"| {manifest.name} | {manifest.size_bytes / 1e6:,.0f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
