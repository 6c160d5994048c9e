"""An ONNX graph and its data under other names."""

import shutil
from pathlib import Path

from exporter.errors import require
from exporter.packages.assemble import Judged


def write_graph(judged: Judged, path: Path) -> None:
    """Write an artifact's graph to `path` and its data beside it, as `path` with `_data`, where the
    graph then looks for it. Raises MissingDependency."""
    require("onnx")
    import onnx

    entry = judged.manifest.entry
    model = onnx.load(str(judged.folder / entry), load_external_data=False)
    data = f"{path.name}_data"
    outside = [tensor for tensor in model.graph.initializer if tensor.external_data]
    for tensor in outside:
        for field in tensor.external_data:
            if field.key == "location":
                field.value = data
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    if outside:
        shutil.copyfile(judged.folder / f"{entry}_data", path.with_name(data))
