"""checkpoint -> an ONNX artifact folder: graph, weights, tokenizer, manifest."""

import importlib.util
import shutil
from pathlib import Path

from exporter.checkpoint.records import Checkpoint
from exporter.errors import BadInput, MissingDependency
from exporter.manifest import Manifest, write_manifest
from exporter.registry import ONNX_GRAPHS, ONNX_SCHEMES, resolve
from exporter.staging import check_free_disk, check_output, staged_folder

COPIED = ("config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer.model",
          "tokenizer_config.json", "vocab.txt")  # fmt: skip


def export_onnx(
    checkpoint: Checkpoint,
    output: Path,
    *,
    quant: str = "none",
    dim: int | None = None,
    graph: str = "built",
    force: bool = False,
) -> Manifest:
    """Write the artifact to `output` and return its manifest. Same input, same bytes.

    `dim`: one of the checkpoint's Matryoshka dims; the cut is folded into the last matrix.
    Everything is checked before the first long step. Raises BadInput or MissingDependency.
    """
    if importlib.util.find_spec("onnx") is None:
        raise MissingDependency("onnx", extra="onnx")
    scheme = resolve(ONNX_SCHEMES, quant, kind="--quant")
    write = resolve(ONNX_GRAPHS, graph, kind="--graph")
    width = checkpoint.dim if dim is None else dim
    if width not in checkpoint.matryoshka_dims:
        known = ", ".join(map(str, checkpoint.matryoshka_dims))
        raise BadInput(f"--dim {width} is not one that the model was trained for (known: {known})")
    if graph == "built":
        from exporter.onnx.built import check_built

        check_built(checkpoint)
    else:
        from exporter.onnx.traced import check_traced

        check_traced(checkpoint, scheme=scheme, dim=width)
        if importlib.util.find_spec("optimum") is None:
            raise MissingDependency("optimum-onnx", extra="traced")
    check_output(output, force=force)
    check_free_disk(
        output, int(checkpoint.parameters * scheme.bytes_per_weight() * 1.1) + (1 << 20)
    )
    with staged_folder(output, force=force) as stage:
        records = write(checkpoint, stage, scheme=scheme, dim=width)
        for name in COPIED:
            if (checkpoint.path / name).is_file():
                shutil.copyfile(checkpoint.path / name, stage / name)
        return write_manifest(
            stage, checkpoint, kind="onnx", scheme="fp32" if quant == "none" else quant,
            entry="model.onnx", tensors=records, dim=width, options={"graph": graph},
            libraries=("numpy", "onnx", "optimum-onnx") if graph == "traced"
            else ("numpy", "onnx"), kept=scheme.kept,
        )  # fmt: skip
