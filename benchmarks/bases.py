"""Artifacts of several base models side by side: size, speed, and what they keep of the original.

    python -m benchmarks.bases --base CHECKPOINT ARTIFACT [--base CHECKPOINT ARTIFACT ...]
                               [--shape CHECKPOINT ARTIFACT ...] [--corpus BEIR ...]
                               [--rounds N] [--output FOLDER]

Each artifact of `--base` is judged against its own checkpoint in torch float32 on every corpus, by
default the invented English ordinances of `benchmarks.english_towns`.
Those of `--shape` have random weights (`benchmarks.shapes`): their size, memory and speed are the
real model's, and nothing else is measured. Speeds are taken in turns, one thread. Nothing else
should run meanwhile. Writes bases.md.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.english_towns import write_corpus
from benchmarks.machine import about, lines
from exporter.api import judge
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import Corpus, read_corpus
from exporter.manifest import read_manifest
from exporter.parity.measured import DimResult
from exporter.release.bench import BenchResult, run_bench

RESULTS = Path(__file__).parent / "results"
QUESTION, DOCUMENTS = (1, 24), (8, 128)
"""Texts and tokens of each: a question, and documents in a batch."""
COSTS = ("weights, M", "components", "MB", "peak MB", "ms a question", "tokens/s", "reads, tokens")
KEPT = ("1 - cosine, median", "p99", "MRR@10, original", "lost or won [95 %]", "overlap@10")
NOT_MEASURED = "not measured"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", nargs=2, type=Path, action="append", required=True)
    parser.add_argument("--shape", nargs=2, type=Path, action="append", default=[])
    parser.add_argument("--corpus", type=Path, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    pairs = [*arguments.base, *arguments.shape]
    checkpoints = [
        read_checkpoint(folder, prompts=read_manifest(artifact).prompts)
        for folder, artifact in pairs
    ]
    artifacts = [artifact for _, artifact in pairs]
    real = len(arguments.base)
    timed = run_bench(artifacts, rounds=arguments.rounds, threads=1).results
    text = [
        "# Bases side by side",
        "",
        f"A question is {QUESTION[1]} tokens, `tokens/s` a batch of {DOCUMENTS[0]} texts of "
        f"{DOCUMENTS[1]}; one thread, medians of {arguments.rounds} rounds in turns.",
        "",
        *table(
            COSTS, [costs(c, a, t) for c, a, t in zip(checkpoints, artifacts, timed, strict=True)]
        ),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for corpus in map(read_corpus, arguments.corpus or [write_corpus(Path(folder) / "towns")]):
            rows = [
                kept(checkpoint, artifact, corpus)
                for checkpoint, artifact in zip(checkpoints[:real], artifacts[:real], strict=True)
            ]
            rows += [
                unmeasured(c, a) for c, a in zip(checkpoints[real:], artifacts[real:], strict=True)
            ]
            text += [
                "",
                f"{corpus.name}: {len(corpus.doc_ids):,} documents, {len(corpus.query_ids):,} "
                "questions.",
                "",
                *table((*KEPT, "verdict"), rows),
            ]
    machine = lines(about(checkpoints[0], sys.argv[1:]))
    others = [lines(about(one, []))[0] for one in checkpoints[1:real]]
    shapes = [f"- {one.name}: random weights of its shape" for one in checkpoints[real:]]
    text += ["", *others, *shapes, *machine, ""]
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "bases.md").write_text("\n".join(text), "utf-8")
    print("\n".join(text))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Sequence[str]:
    """Return a table whose rows begin with the base and the artifact."""
    named = ("base", "artifact", *headings)
    return [
        f"| {' | '.join(named)} |",
        "| --- | --- |" + " ---: |" * len(headings),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def costs(checkpoint: Checkpoint, artifact: Path, timed: BenchResult) -> Sequence[str]:
    """Return what an artifact costs."""
    by: Mapping[tuple[int, int], tuple[float, float]] = {
        (one.texts, one.tokens): (one.milliseconds, one.tokens_per_second) for one in timed.timings
    }
    return (
        checkpoint.name,
        read_manifest(artifact).name,
        f"{checkpoint.parameters / 1e6:,.0f}",
        str(checkpoint.dim),
        f"{timed.size_bytes / 1e6:,.1f}",
        f"{timed.peak_memory_bytes / 1e6:,.0f}",
        f"{by[QUESTION][0]:.1f}",
        f"{by[DOCUMENTS][1]:,.0f}",
        f"{checkpoint.max_tokens:,}",
    )


def kept(checkpoint: Checkpoint, artifact: Path, corpus: Corpus) -> Sequence[str]:
    """Return what an artifact keeps of its original on a corpus."""
    report = judge([artifact], checkpoint, corpus=corpus, dims=[checkpoint.dim])
    result = report.artifacts[0]
    (found,) = result.dims
    return (
        checkpoint.name,
        result.name,
        f"{1 - found.cosine.median:.1e}",
        f"{1 - found.cosine.p1:.1e}",
        *retrieval(found),
        result.verdict,
    )


def unmeasured(checkpoint: Checkpoint, artifact: Path) -> Sequence[str]:
    """Return the row of an artifact whose original was not at hand."""
    return (checkpoint.name, read_manifest(artifact).name, *(NOT_MEASURED for _ in KEPT), "")


def retrieval(found: DimResult) -> Sequence[str]:
    """Return MRR@10 of torch float32, the artifact's difference with its interval, and what the two
    find alike."""
    both = found.deployed("both")
    one = both.differences.mrr_at_10
    shown = f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
    return f"{found.reference.mrr_at_10:.3f}", shown, f"{both.overlap_at_10.mean:.3f}"


if __name__ == "__main__":
    main()
