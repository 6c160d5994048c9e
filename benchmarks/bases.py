"""Artifacts of several base models side by side: size, speed, and what they keep of the original.

    python -m benchmarks.bases --base CHECKPOINT ARTIFACT [--base CHECKPOINT ARTIFACT ...]
                               [--corpus BEIR] [--rounds N] [--output FOLDER]

Each artifact is judged against its own checkpoint in torch float32 on one corpus, by default the
invented English ordinances of `benchmarks.english_towns`; speeds are taken in turns, one thread.
Nothing else should run meanwhile. Writes bases.md.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
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
HEADINGS = (
    *("base", "weights, M", "components", "tokens", "artifact", "MB", "peak MB"),
    *("1 - cosine, median", "p99", "MRR@10, original", "difference", "verdict"),
    *("ms a question", "tokens/s"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", nargs=2, type=Path, action="append", required=True)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    artifacts = [artifact for _, artifact in arguments.base]
    checkpoints = [
        read_checkpoint(folder, prompts=read_manifest(artifact).prompts)
        for folder, artifact in arguments.base
    ]
    timed = run_bench(artifacts, rounds=arguments.rounds, threads=1).results
    with tempfile.TemporaryDirectory() as folder:
        corpus = read_corpus(arguments.corpus or write_corpus(Path(folder) / "towns"))
        rows = [
            row(checkpoint, artifact, corpus, result)
            for checkpoint, artifact, result in zip(checkpoints, artifacts, timed, strict=True)
        ]
    machine = lines(about(checkpoints[0], sys.argv[1:]))
    others = [lines(about(one, []))[0] for one in checkpoints[1:]]
    text = "\n".join(
        [
            "# Bases side by side",
            "",
            f"{corpus.name}: {len(corpus.doc_ids):,} documents, {len(corpus.query_ids):,} "
            f"questions. A question is {QUESTION[1]} tokens, a batch {DOCUMENTS[0]} texts of "
            f"{DOCUMENTS[1]}; one thread, medians of {arguments.rounds} rounds in turns.",
            "",
            "| " + " | ".join(HEADINGS) + " |",
            "| --- |" + " ---: |" * 3 + " --- |" + " ---: |" * 6 + " --- | ---: | ---: |",
            *rows,
            "",
            *others,
            *machine,
            "",
        ]
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "bases.md").write_text(text, "utf-8")
    print(text)


def row(checkpoint: Checkpoint, artifact: Path, corpus: Corpus, timed: BenchResult) -> str:
    """Return a line of the table."""
    report = judge([artifact], checkpoint, corpus=corpus, dims=[checkpoint.dim])
    result = report.artifacts[0]
    (found,) = result.dims
    cells = (
        checkpoint.name,
        f"{checkpoint.parameters / 1e6:,.0f}",
        str(checkpoint.dim),
        f"{checkpoint.max_tokens:,}",
        result.name,
        f"{timed.size_bytes / 1e6:,.1f}",
        f"{timed.peak_memory_bytes / 1e6:,.0f}",
        f"{1 - found.cosine.median:.1e}",
        f"{1 - found.cosine.p1:.1e}",
        *retrieval(found),
        result.verdict,
        *speeds(timed),
    )
    return "| " + " | ".join(cells) + " |"


def retrieval(found: DimResult) -> Sequence[str]:
    """Return MRR@10 of torch float32, and the artifact's difference with its interval."""
    one = found.deployed("both").differences.mrr_at_10
    shown = f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
    return f"{found.reference.mrr_at_10:.3f}", shown


def speeds(timed: BenchResult) -> Sequence[str]:
    """Return milliseconds of a question and tokens a second of a batch."""
    by = {(one.texts, one.tokens): one for one in timed.timings}
    return f"{by[QUESTION].milliseconds:.1f}", f"{by[DOCUMENTS].tokens_per_second:,.0f}"


if __name__ == "__main__":
    main()
