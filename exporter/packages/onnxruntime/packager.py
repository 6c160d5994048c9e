"""A package for ONNX Runtime on servers and phones: .onnx, .ort, tokenizer, examples."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from exporter.checkpoint.tokenizer import TOKENIZER_FILES
from exporter.formats.onnx.runtime import least_version, write_ort_format
from exporter.packages.assemble import Filling, Packager
from exporter.packages.onnx_file import write_graph
from exporter.packages.onnxruntime.verifier import GRAPH, MOBILE
from exporter.staging import copy_present

STATIC = Path(__file__).parent / "static"
EXAMPLES = ("example.py", "example.mjs")


def fill_onnxruntime(filling: Filling) -> Sequence[str]:
    """Write the graph in both formats, the tokenizer and the examples."""
    (judged,) = filling.artifacts
    manifest, stage = judged.manifest, filling.stage
    write_graph(judged, stage / GRAPH)
    write_ort_format(stage / GRAPH, stage / MOBILE)
    copy_present(("config.json", *TOKENIZER_FILES[:2]), judged.folder, stage)
    for name in EXAMPLES:
        shutil.copyfile(STATIC / name, stage / name)
    filling.write(
        "readme.md.j2",
        "README.md",
        manifest=manifest,
        verdict=judged.verdict,
        least=least_version(manifest),
        sizes={
            name: sum(p.stat().st_size for p in stage.glob(f"{name}*")) / 1e6
            for name in (GRAPH, MOBILE)
        },
    )
    return [GRAPH]


PACKAGER = Packager(
    name="onnxruntime",
    room=__package__,
    verify="exporter.packages.onnxruntime.verifier:verify_onnxruntime",
    format="onnx",
    fill=fill_onnxruntime,
    hint="ONNX Runtime takes ONNX: lawvault export onnx",
)
