"""Fuzzing of one reader, led by coverage.

    python -m parity_tests.fuzz.fuzz_readers NAME [libFuzzer's options]

Needs atheris; `make fuzz` runs every reader for a minute. A file that ends in a stray exception is
left as crash-*: give it as the last argument to see it again.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["exporter"]):
    from parity_tests.fuzz.targets import MUTATED_BYTES, make_targets


def main() -> None:
    name = sys.argv.pop(1)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    target = make_targets(folder)[name]
    corpus = folder / "seeds"
    corpus.mkdir()
    (corpus / "sound").write_bytes(target.sound[:MUTATED_BYTES])
    options = sys.argv if any(Path(a).is_file() for a in sys.argv[1:]) else [*sys.argv, str(corpus)]
    atheris.Setup(options, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
