"""A format that a test adds: the checkpoint's place in a file, run by torch."""

from pathlib import Path

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.format import Format, Use
from exporter.manifest import Built, Manifest, TensorRecord, read_manifest, write_manifest
from exporter.progress import Stages, silent
from exporter.runtimes.encoder import Encoder
from exporter.runtimes.torch_reference import TorchReference
from exporter.staging import staged_folder

ENTRY = "model.toy"


def export_toy(
    checkpoint: Checkpoint,
    output: Path,
    *,
    scheme: str = "fp32",
    calibration: Path | None = None,
    keep: Path | None = None,
    force: bool = False,
    stages: Stages = silent,
) -> Manifest:
    del calibration, keep, stages
    with staged_folder(output, force=force) as stage:
        (stage / ENTRY).write_text(str(checkpoint.path.resolve()), encoding="utf-8")
        (stage / "weights.toy").write_bytes(bytes(1000))
        return write_manifest(
            stage,
            checkpoint,
            Built(
                format="toy",
                scheme=scheme,
                entry=ENTRY,
                libraries=("torch",),
                tensors=(TensorRecord(name="w", dtype="int8", shape=(1000,), bits_per_weight=8),),
            ),
        )


def open_toy(folder: Path, *, threads: int | None = None) -> Encoder:
    del threads
    manifest = read_manifest(folder)
    checkpoint = read_checkpoint(Path((folder / ENTRY).read_text("utf-8")))
    encoder = TorchReference(checkpoint, dtype="float32", device="cpu")
    encoder.name = manifest.name
    return encoder


FORMAT = Format(
    name="toy",
    label="Toy",
    summary="Write a toy.",
    schemes={"fp32": "fp32"},
    scheme_option="--quant",
    default_scheme="fp32",
    export="parity_tests.toy.format:export_toy",
    encoder="parity_tests.toy.format:open_toy",
    libraries=("torch",),
    model_files=lambda entry: (entry, "weights.toy"),
    use=lambda options: Use("the toy's runtime", "Toy shops"),
    colours=("#123456", "#abcdef"),
)
