"""This project's GGUF plans against llama-quantize's presets, on the miniature and its twin.

python -m benchmarks.gguf_plans [--full-size FOLDER]

Rows stand in groups: a preset of upstream, then what this project makes at equal or smaller size.
`--full-size` adds the size of each file for a checkpoint of that folder.
"""

import argparse
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from benchmarks.quality import COLUMNS, Yardstick
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import Corpus, read_corpus
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.options import GgufOptions
from exporter.formats.gguf.runtime import LlamaCppEncoder
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE
from parity_tests.miniature.harden import harden

UPSTREAM = GgufOptions(plan="upstream")
MEASURED = GgufOptions(plan="upstream", imatrix="on")
OWN = GgufOptions()
ROWS: tuple[tuple[str, str, GgufOptions], ...] = (
    ("upstream q8_0", "q8_0", UPSTREAM),
    ("q8_0", "q8_0", OWN),
    ("q8_0 --imatrix on", "q8_0", replace(OWN, imatrix="on")),
    ("q6_k", "q6_k", OWN),
    ("upstream q6_k", "q6_k", UPSTREAM),
    ("q6_k --embedding-type q6_k", "q6_k", replace(OWN, embedding_type="q6_k")),
    ("q5_k_m", "q5_k_m", OWN),
    ("upstream q5_k_m", "q5_k_m", UPSTREAM),
    ("upstream q5_k_m, its imatrix", "q5_k_m", MEASURED),
    ("q4_k_m", "q4_k_m", OWN),
    ("- imatrix off", "q4_k_m", replace(OWN, imatrix="off")),
    ("upstream q4_k_m", "q4_k_m", UPSTREAM),
    ("upstream q4_k_m, its imatrix", "q4_k_m", MEASURED),
    ("q4_0 --embedding-type q4_k", "q4_0", replace(OWN, embedding_type="q4_k")),
    ("upstream q4_0", "q4_0", UPSTREAM),
    ("q4_0", "q4_0", OWN),
    ("upstream iq4_nl", "iq4_nl", UPSTREAM),
    ("iq4_nl", "iq4_nl", OWN),
)


class Twin:
    """A checkpoint, its yardstick on a corpus, and a folder for the files made of it."""

    def __init__(self, checkpoint: Checkpoint, corpus: Corpus, output: Path) -> None:
        self.checkpoint, self.output = checkpoint, output
        self.yardstick = Yardstick(checkpoint, corpus)

    def judge(self, type_name: str, options: GgufOptions) -> tuple[int, str]:
        """Return the file's size in bytes and the cells of a row."""
        manifest = export_gguf(
            self.checkpoint, self.output, scheme=type_name, **vars(options), force=True
        )
        with closing(LlamaCppEncoder(self.output)) as encoder:
            vectors = encoder.encode(self.yardstick.texts)
        return manifest.size_bytes, self.yardstick.judge(vectors).cells


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=MINIATURE)
    parser.add_argument("--full-size", type=Path)
    arguments = parser.parse_args()
    corpus = read_corpus(BUNDLED_CORPUS)
    large = read_checkpoint(arguments.full_size) if arguments.full_size else None
    with tempfile.TemporaryDirectory() as folder:
        plain = read_checkpoint(arguments.checkpoint)
        hard = read_checkpoint(harden(arguments.checkpoint, Path(folder) / "hard"))
        twins = [Twin(plain, corpus, Path(folder) / "a"), Twin(hard, corpus, Path(folder) / "b")]
        print(f"| file | MB | full size, MB | {COLUMNS} | hardened: {COLUMNS} |")
        print("| --- |" + " --- |" * 8)
        for label, type_name, options in ROWS:
            found = [twin.judge(type_name, options) for twin in twins]
            whole = "" if large is None else f"{_size(large, type_name, options, folder):,.0f}"
            print(
                f"| {label} | {found[0][0] / 1e6:.2f} | {whole} | "
                f"{' | '.join(cells for _, cells in found)} |",
                flush=True,
            )


def _size(checkpoint: Checkpoint, type_name: str, options: GgufOptions, folder: str) -> float:
    """Return megabytes. What is measured on calibration text moves no byte count."""
    manifest = export_gguf(
        checkpoint,
        Path(folder) / "full",
        scheme=type_name,
        force=True,
        **vars(replace)(options, imatrix="off"),
    )
    return manifest.size_bytes / 1e6


if __name__ == "__main__":
    main()
