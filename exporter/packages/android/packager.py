"""A package for Android: a .tflite, its tokenizer, examples in Kotlin and Python."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from exporter.checkpoint.tokenizer import TOKENIZER_FILES
from exporter.packages.assemble import Filling, Packager
from exporter.staging import copy_present

STATIC = Path(__file__).parent / "static"
EXAMPLES = ("example.py", "Embedder.kt")


def fill_android(filling: Filling) -> Sequence[str]:
    """Write the model, the tokenizer and the examples."""
    (judged,) = filling.artifacts
    manifest, stage = judged.manifest, filling.stage
    copy_present((manifest.entry, "config.json", *TOKENIZER_FILES[:2]), judged.folder, stage)
    for name in EXAMPLES:
        shutil.copyfile(STATIC / name, stage / name)
    lengths = [int(length) for length in manifest.options["lengths"].split(",")]
    filling.write(
        "readme.md.j2", "README.md", manifest=manifest, verdict=judged.verdict, lengths=lengths
    )
    return [manifest.entry]


PACKAGER = Packager(
    name="android",
    room=__package__,
    verify="exporter.packages.android.verifier:verify_android",
    format="litert",
    fill=fill_android,
    hint="Android takes LiteRT's format: lawvault export litert",
)
