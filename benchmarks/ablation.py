"""What each part of the int8 and 4-bit schemes is worth on a checkpoint, emulated in float32.

    python -m benchmarks.ablation --checkpoint FOLDER --corpus FOLDER [--calibration FOLDER]
        [--prompts 'query=...,document=...'] [--texts 48] [--fit-on 64] [--only NAME;NAME]

Errors are 1 - cosine to the unrounded model on held-back texts: --texts of the questions that
choose between variants (`benchmarks.sampled`) and as many documents, chosen by the hash of their
ids.
Weights are fitted on --fit-on bundled calibration texts (a release fits on all: compare rows with
each other, not with a file), or, in the rows that say so, on as many of --calibration, none of them
held back. --only takes beginnings of rows' names too (`int8`, `table`). Rows already in
ablation_CORPUS.json in --output are kept where everything else is the same. About half a minute of
one core a row on EmbeddingGemma-300M, two to three where weights are fitted.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation_rows import EVERY, ByLayer, Nearest, Row, table_of
from benchmarks.machine import about, lines
from benchmarks.sampled import by_hash, split
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.common import parse_prompts
from exporter.corpus.beir import Corpus, read_corpus
from exporter.corpus.calibration import CalibrationText, read_calibration, sample
from exporter.errors import LawvaultError, unknown_name
from exporter.quantization.channels import smoothed_weights
from exporter.quantization.inputs import token_rows
from exporter.quantization.rotate import RotatedWeights
from exporter.quantization.rounding import quantize_layers, run_rounded
from exporter.quantization.weights import ModelWeights
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE


class Bench:
    """A checkpoint, the texts held back, those to fit on, and the unrounded model's vectors."""

    def __init__(
        self, checkpoint: Checkpoint, held_back: Sequence[str], fitted_on: dict[str, list[str]]
    ) -> None:
        self.checkpoint, self.held_back, self.fitted_on = checkpoint, held_back, fitted_on
        self._smoothed: dict[str, ModelWeights] = {}
        self._truth = self._run(Row("exact"))

    def judge(self, row: Row) -> dict[str, float]:
        """Return median, 99th percentile and worst of 1 - cosine, and seconds."""
        began = time.perf_counter()
        found = self._run(row)
        off = 1 - (found * self._truth).sum(axis=1)
        return {
            "median": float(np.median(off)),
            "p99": float(np.percentile(off, 99)),
            "worst": float(off.max()),
            "seconds": round(time.perf_counter() - began, 1),
        }

    def _weights(self, row: Row) -> ModelWeights:
        if not row.smoothed:
            return ModelWeights(self.checkpoint)
        if row.texts not in self._smoothed:  # a pass over the texts: once for all rows
            found = smoothed_weights(self.checkpoint, self.fitted_on[row.texts])
            self._smoothed[row.texts] = found
        return self._smoothed[row.texts]

    def _run(self, row: Row) -> Any:
        weights = RotatedWeights(self._weights(row), row.blocks)
        table = None if row.table_bits is None else table_of(row.table_bits)
        texts = self.fitted_on.get(row.texts, [])
        rounds: Any = row.rounds
        if rounds == "static":
            measured = ByLayer()
            run_rounded(weights, texts, matrices=None, round_input=measured)
            rounds = ByLayer(measured.largest)
        matrices: Any = None
        if row.fit is not None and row.compensated:
            matrices = quantize_layers(
                weights,
                texts,
                fit=row.fit,
                round_input=rounds,
                round_table=table,
                aim_at_original=row.aim,
            )
        elif row.fit is not None:
            matrices = Nearest(weights, row.fit)
        pooled = run_rounded(
            weights, self.held_back, matrices=matrices, round_input=rounds, round_table=table
        )
        head = weights.head(dim=self.checkpoint.dim)
        vectors = pooled.astype(np.float64) if head is None else pooled.astype(np.float64) @ head
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def held_back_texts(
    corpus: Corpus, checkpoint: Checkpoint, count: int
) -> tuple[list[str], set[str]]:
    """Return texts with their prompts, questions first, and the same without."""
    parts = split(corpus, documents=None)
    asked = [i for i in by_hash(corpus.query_ids) if i in set(parts.choosing)][:count]
    read = by_hash(corpus.doc_ids)[:count]
    prompts = checkpoint.prompts
    made = [prompts.render_query(corpus.queries[i]) for i in asked]
    made += [prompts.render_document(corpus.texts[i], title=corpus.titles[i]) for i in read]
    bare = {corpus.queries[i].strip() for i in asked} | {corpus.texts[i].strip() for i in read}
    return made, bare


def fitting_texts(
    source: Path | None, count: int, *, without: set[str], checkpoint: Checkpoint
) -> list[str]:
    """Return `count` calibration texts with their prompts, or fewer, none of `without`; half of
    them questions where there are as many."""
    usable = [t for t in read_calibration(source) if t.text.strip() not in without]
    picked: list[CalibrationText] = []
    for role in ("query", "document"):
        picked += sample([t for t in usable if t.role == role], count // 2)
    return [text.rendered(checkpoint.prompts) for text in picked]


def chosen_rows(only: str | None, *, in_domain: bool) -> list[Row]:
    """Return the rows that `only` names, or names the beginning of. Raises BadInput."""
    rows = [row for row in EVERY.values() if in_domain or row.texts == "bundled"]
    if only is None:
        return rows
    found: list[Row] = []
    for part in (part.strip() for part in only.split(";")):
        some = [row for row in rows if row.name.startswith(part)]
        if not some:
            raise unknown_name("row", part, (row.name for row in rows))
        found += [row for row in some if row not in found]
    return found


def markdown(found: dict[str, Any]) -> str:
    """Return the table, in the order of all rows, and what it is of."""
    a, rows = found["about"], found["rows"]
    made = [
        f"# Parts of the schemes on {a['checkpoint']}\n",
        f"1 - cosine to the unrounded model, emulated, {a['held_back']} held-back texts of "
        f"{a['corpus']}; weights fitted on {a['fitted_on']}.\n",
        "| | median | p99 | worst |\n| --- | ---: | ---: | ---: |",
    ]
    for name in EVERY:
        if name in rows:
            cells = " | ".join(f"{rows[name][k]:.2g}" for k in ("median", "p99", "worst"))
            made.append(f"| {name} | {cells} |")
    return "\n".join([*made, "", *lines(a)]) + "\n"


def run(arguments: list[str], *, said: Callable[[str], None] = lambda line: None) -> Path:
    """Do all of it. Returns the Markdown file. Raises BadInput."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=MINIATURE)
    parser.add_argument("--corpus", type=Path, default=BUNDLED_CORPUS)
    parser.add_argument("--prompts", metavar="FILE|query=...,document=...", type=parse_prompts)
    parser.add_argument("--calibration", type=Path, help="texts like those that are asked of it")
    parser.add_argument("--texts", type=int, default=48)
    parser.add_argument("--fit-on", type=int, default=64)
    parser.add_argument("--only", help="rows or beginnings of them, separated by semicolons")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args(arguments)
    rows = chosen_rows(given.only, in_domain=given.calibration is not None)
    checkpoint = read_checkpoint(given.checkpoint, prompts=given.prompts)
    corpus = read_corpus(given.corpus)
    held_back, bare = held_back_texts(corpus, checkpoint, given.texts)
    sources = {"bundled": None, "in-domain": given.calibration}
    fitted = {
        kind: fitting_texts(source, given.fit_on, without=bare, checkpoint=checkpoint)
        for kind, source in sources.items()
        if kind == "bundled" or source is not None
    }
    described = {
        **about(checkpoint, arguments),
        "corpus": corpus.name,
        "corpus_sha256": corpus.sha256,
        "held_back": len(held_back),
        "fitted_on": _described(fitted, checkpoint),
    }
    file = given.output / f"ablation_{corpus.name}.json"
    results = {"about": described, "rows": _kept(file, described)}
    given.output.mkdir(parents=True, exist_ok=True)
    bench = Bench(checkpoint, held_back, fitted)
    for row in rows:
        results["rows"][row.name] = found = bench.judge(row)
        said(f"{row.name}: {found['median']:.2g}, worst {found['worst']:.2g}, {found['seconds']} s")
        file.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        file.with_suffix(".md").write_text(markdown(results), "utf-8")
    return file.with_suffix(".md")


def _described(fitted: dict[str, list[str]], checkpoint: Checkpoint) -> str:
    parts = [
        f"{len(texts)} {kind} texts ({sum(map(len, token_rows(checkpoint, texts))):,} tokens)"
        for kind, texts in fitted.items()
    ]
    return " or ".join(parts)


def _kept(file: Path, described: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of an earlier run that had all but its command in common with this one."""
    if not file.is_file():
        return {}
    found = json.loads(file.read_text("utf-8"))

    def same(a: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in a.items() if name != "command"}

    return dict(found["rows"]) if same(found["about"]) == same(described) else {}


def main() -> None:
    try:
        file = run(sys.argv[1:], said=lambda line: print(line, file=sys.stderr, flush=True))
    except LawvaultError as error:
        sys.exit(f"error: {error}")
    print(file.read_text("utf-8"))


if __name__ == "__main__":
    main()
