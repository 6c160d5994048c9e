"""An OpenVINO artifact on the processor."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput
from exporter.formats.openvino.library import openvino_module
from exporter.manifest import Manifest, read_manifest
from exporter.runtimes.encoder import Vectors
from exporter.runtimes.graph_encoder import GraphEncoder
from exporter.runtimes.memory import release_memory


class OpenVinoEncoder(GraphEncoder):
    """Encoder of an artifact folder written by `export openvino`, or of another folder with such
    files and the `manifest` of the artifact. See `runtimes.encoder.Encoder`.

    Float parts compute in float32: where a processor has AMX, OpenVINO would take bfloat16.
    """

    def __init__(
        self, folder: Path, *, threads: int | None = None, manifest: Manifest | None = None
    ) -> None:
        openvino = openvino_module()
        manifest = manifest or read_manifest(folder)
        path = folder / manifest.entry
        super().__init__(folder, manifest)
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model: Any = openvino.Core().compile_model(path, "CPU", settings)
        except RuntimeError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise BadInput(
                f"OpenVINO {openvino.__version__.split('-')[0]} cannot load '{path}' "
                f"({lines[-1].strip() if lines else 'no reason given'}); export it again"
            ) from None
        names = {name for port in self._model.inputs for name in port.get_names()}
        if not {"input_ids", "attention_mask"} <= names:
            raise BadInput(f"'{path}' takes no input_ids and attention_mask; export it again")

    def _run(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Vectors:
        found = self._model({"input_ids": ids, "attention_mask": mask})
        vectors: Vectors = np.array(found["sentence_embedding"])  # its buffer is used again
        return vectors

    def close(self) -> None:
        del self._model, self._tokenizer
        release_memory()
