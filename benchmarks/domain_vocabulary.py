"""Artifacts with a domain's vocabulary against the same artifacts with the whole table.

python -m benchmarks.domain_vocabulary --checkpoint FOLDER --corpus BEIR --artifacts FOLDER
    [--held-out FILE ...] [--prompts query=...,document=...] [--only NAME ...]

Documents of the corpus are counted, its questions are not. Each artifact is made twice, with all
pieces and with those of the domain, and read in one run: bytes, load (tokenizer included), peak
memory and speed; how many of the questions that keep every piece have the same vector to the last
bit; how far the others are from the whole artifact's. What lies in the folder is kept.
"""

import argparse
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.machine import about, lines
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.vocabulary import MAP_NAME, read_map, with_vocabulary
from exporter.cli.common import parse_prompts
from exporter.formats.open import open_artifact
from exporter.manifest import read_manifest
from exporter.recipe import ArtifactSpec
from exporter.release.bench import BenchResult, run_bench
from exporter.release.exports import export_artifact
from exporter.runtimes.original import CheckpointTokens
from exporter.vocabulary.classes import CLASSES
from exporter.vocabulary.count import NamedTexts, asked_in, documents_of, questions_of
from exporter.vocabulary.make import make_vocabulary
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE

PAIRS: dict[str, ArtifactSpec] = {
    "onnx-int8": ArtifactSpec(format="onnx", scheme="int8"),
    "onnx-q4": ArtifactSpec(format="onnx", scheme="q4"),
    "openvino-int8": ArtifactSpec(format="openvino", scheme="int8"),
    "gguf-q8_0": ArtifactSpec(format="gguf", scheme="q8_0", imatrix="on"),
    "gguf-q4_k_m": ArtifactSpec(format="gguf", scheme="q4_k_m"),
    "gguf-q4_0": ArtifactSpec(format="gguf", scheme="q4_0"),
}
RESULT = Path(__file__).parent / "results" / "domain_vocabulary.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=MINIATURE)
    parser.add_argument("--prompts")
    parser.add_argument("--corpus", type=Path, default=BUNDLED_CORPUS)
    parser.add_argument("--held-out", type=Path, nargs="*", default=[])
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=tuple(PAIRS), default=list(PAIRS))
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    prompts = parse_prompts(arguments.prompts) if arguments.prompts else None
    checkpoint = read_checkpoint(arguments.checkpoint, prompts=prompts)
    asked = [questions_of(arguments.corpus, checkpoint.prompts)]
    held_out = [named for named in asked if named is not None]
    held_out += [asked_in(path, checkpoint.prompts) for path in arguments.held_out]
    folder = arguments.artifacts
    table = ["## Pieces", "", *_pieces(checkpoint, arguments.corpus, held_out, folder)]
    table += ["", "## Vectors of held-out questions", "", VECTORS, "| --- |" + " --- |" * 5]
    questions = [text for named in held_out for text in named.texts]
    kept = set(read_map(folder / "vocabulary").kept)
    whole = np.array([kept.issuperset(row) for row in CheckpointTokens(checkpoint)(questions)])
    folders = []
    for name in arguments.only:
        pair = _made(PAIRS[name], checkpoint, folder)
        folders += pair
        table.append(_vectors(name, pair, questions, whole))
        print(table[-1], flush=True)
    timed = run_bench(folders, on_progress=lambda line: print(line, file=sys.stderr, flush=True))
    table += ["", "## Size, load, memory, speed", "", SPEED, "| --- |" + " --- |" * 5]
    table += [_speed(*timed.results[at : at + 2]) for at in range(0, len(folders), 2)]
    text = "\n".join(
        [
            "# A domain's vocabulary",
            "",
            *lines(about(checkpoint, sys.argv[1:])),
            "",
            *table,
            "",
            "Load and peak memory are of a process that does nothing else; speed is the median of "
            f"{timed.rounds} rounds in which all files take turns.",
            "",
        ]
    )
    print(text)
    arguments.output.write_text(text, "utf-8")


def _pieces(
    checkpoint: Checkpoint, corpus: Path, held_out: list[NamedTexts], folder: Path
) -> list[str]:
    made = make_vocabulary(
        checkpoint,
        folder / "vocabulary",
        counted=[documents_of(corpus, checkpoint.prompts)],
        classes=tuple(CLASSES),
        held_out=held_out,
        force=(folder / "vocabulary" / MAP_NAME).is_file(),
    )
    rows = [
        f"{len(made.map.kept):,} of {made.map.pieces:,} pieces: "
        + ", ".join(f"{count:,} {name}" for name, count in made.steps),
        "",
        "| held out | texts | keep every piece | lost most |",
        "| --- | --- | --- | --- |",
    ]
    for name, share, most in made.held_out:
        part = f"{share.identical:,} ({share.identical / share.texts:.2%})"
        named = ", ".join(f"`{piece}` {times}" for piece, times in most[:5])
        rows.append(f"| {name} | {share.texts:,} | {part} | {named} |")
    return rows


def _made(spec: ArtifactSpec, checkpoint: Checkpoint, folder: Path) -> list[Path]:
    """Return the folders of the whole artifact and of the cut one, made unless they are there."""
    found = []
    cut = with_vocabulary(checkpoint, folder / "vocabulary")
    for given, vocabulary in ((checkpoint, None), (cut, str(folder / "vocabulary"))):
        own = spec.model_copy(update={"vocabulary": vocabulary})
        place = folder / own.name
        made = read_manifest(place).vocabulary if place.is_dir() else None
        sha256 = None if given.vocabulary is None else given.vocabulary.sha256
        if not place.is_dir() or (made and made.sha256) != sha256:
            print(f"exporting {place.name}", file=sys.stderr, flush=True)
            export_artifact(
                own,
                checkpoint,
                place,
                force=True,
                stages=lambda label, total: lambda done: None,
                keep=folder / "kept",
            )
        found.append(place)
    return found


VECTORS = (
    "| artifact | questions that keep every piece | same to the last bit | others | "
    "cosine to the whole artifact's: median | least |"
)


def _vectors(name: str, pair: list[Path], questions: list[str], whole: np.ndarray) -> str:
    vectors = []
    for folder in pair:
        with closing(open_artifact(folder)) as encoder:
            vectors.append(encoder.encode(questions))
    same = (vectors[0].view(np.uint32) == vectors[1].view(np.uint32)).all(axis=1)
    cosines = (vectors[0].astype(np.float64) * vectors[1]).sum(axis=1)[~whole]
    others = "| | |" if not len(cosines) else f"| {np.median(cosines):.5f} | {cosines.min():.5f} |"
    return f"| {name} | {whole.sum():,} | {same[whole].sum():,} | {len(cosines):,} {others}"


SPEED = (
    "| artifact | MB: whole, domain | load, s | peak memory, MB | tokens/s 8 x 128 | ms 1 x 24 |"
)


def _speed(whole: BenchResult, cut: BenchResult) -> str:
    def both(a: float, b: float, digits: int = 0) -> str:
        return f"{a:,.{digits}f} / {b:,.{digits}f} ({b / a:.2f})"

    cells = [
        both(whole.size_bytes / 1e6, cut.size_bytes / 1e6),
        both(whole.load_seconds, cut.load_seconds, 2),
        both(whole.peak_memory_bytes / 1e6, cut.peak_memory_bytes / 1e6),
        both(whole.timings[0].tokens_per_second, cut.timings[0].tokens_per_second),
        both(whole.timings[2].milliseconds, cut.timings[2].milliseconds, 1),
    ]
    return f"| {whole.name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
