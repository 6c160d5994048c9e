"""A package for OpenVINO: IR, tokenizer, an example."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from exporter.packages.assemble import Filling, Packager

STATIC = Path(__file__).parent / "static"
COPIED = ("model.bin", "tokenizer.json", "tokenizer_config.json", "config.json")


def fill_openvino(filling: Filling) -> Sequence[str]:
    """Write the IR, the tokenizer and the example."""
    (judged,) = filling.artifacts
    manifest, stage = judged.manifest, filling.stage
    for name in (manifest.entry, *COPIED):
        if (judged.folder / name).is_file():
            shutil.copyfile(judged.folder / name, stage / name)
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
