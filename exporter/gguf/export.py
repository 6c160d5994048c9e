"""checkpoint -> a GGUF artifact folder: one file and its manifest."""

import importlib.util
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from exporter.checkpoint.records import Checkpoint
from exporter.errors import MissingDependency
from exporter.manifest import Manifest, write_manifest
from exporter.registry import GGUF_TYPES, resolve
from exporter.staging import check_free_disk, check_output, staged_folder


def export_gguf(
    checkpoint: Checkpoint,
    output: Path,
    *,
    type_name: str = "q8_0",
    force: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Write `{model}-{type}.gguf` to `output` and return the manifest. Same input, same bytes.

    `tokenizer.json` is copied beside it, for comparing token ids. `on_progress` is called with
    the number of weights written since the last call. Everything is checked before the first
    long step. Raises BadInput for what the format cannot say, or MissingDependency.
    """
    if importlib.util.find_spec("gguf") is None:
        raise MissingDependency("gguf", extra="gguf")
    # The library warns of what is checked here, or written as meant.
    for name in ("gguf", "metadata"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from exporter.gguf.limits import check_expressible

    kind = resolve(GGUF_TYPES, type_name, kind="--type")
    check_expressible(checkpoint)
    check_output(output, force=force)
    from exporter.gguf.types import bits_per_weight
    from exporter.gguf.writer import write_gguf

    bits = bits_per_weight(kind.matrix)
    check_free_disk(output, int(checkpoint.parameters * bits / 8 * 1.1) + (1 << 23))
    name = f"{checkpoint.name}-{kind.name}.gguf"
    with staged_folder(output, force=force) as stage:
        records = write_gguf(checkpoint, stage / name, kind, on_progress=on_progress)
        shutil.copyfile(checkpoint.path / "tokenizer.json", stage / "tokenizer.json")
        kept = sorted({f"{r.dtype}: {r.reason}" for r in records if r.reason})
        return write_manifest(
            stage, checkpoint, kind="gguf", scheme=kind.name, entry=name, tensors=records,
            libraries=("gguf", "numpy", "sentencepiece"), kept=tuple(kept),
        )  # fmt: skip
