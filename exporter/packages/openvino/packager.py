"""A package for OpenVINO: IR, tokenizer, an example."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from exporter.checkpoint.tokenizer import TOKENIZER_FILES
from exporter.format import format_of
from exporter.packages.assemble import Filling, Packager
from exporter.staging import copy_present

STATIC = Path(__file__).parent / "static"


def fill_openvino(filling: Filling) -> Sequence[str]:
    """Write the IR, the tokenizer and the example."""
    (judged,) = filling.artifacts
    manifest, stage = judged.manifest, filling.stage
    model = format_of(manifest.format).model_files(manifest.entry)
    copy_present((*model, "config.json", *TOKENIZER_FILES[:2]), judged.folder, stage)
    shutil.copyfile(STATIC / "example.py", stage / "example.py")
    filling.write("readme.md.j2", "README.md", manifest=manifest, verdict=judged.verdict)
    return [manifest.entry]


PACKAGER = Packager(
    name="openvino",
    room=__package__,
    verify="exporter.packages.openvino.verifier:verify_openvino",
    format="openvino",
    fill=fill_openvino,
    hint="OpenVINO takes its own format: lawvault export openvino",
)
