"""An OpenVINO artifact on the processor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.tokenizer import load_tokenizer
from exporter.errors import BadInput
from exporter.formats.openvino.library import openvino_module
from exporter.manifest import Manifest, read_manifest
from exporter.progress import Progress
from exporter.runtimes.batching import padded, run_of_one_length, token_rows
from exporter.runtimes.encoder import Vectors, unit_rows
from exporter.runtimes.memory import release_memory

TOKEN_BUDGET = 4096


class OpenVinoEncoder:
    """Encoder of an artifact folder written by `export openvino`, or of another folder with such
    files and the `manifest` of the artifact. See `runtimes.encoder.Encoder`.

    Float parts compute in float32: where a processor has AMX, OpenVINO would take bfloat16. A batch
    holds texts of one length, so that nothing is padded.
    """

    def __init__(
        self, folder: Path, *, threads: int | None = None, manifest: Manifest | None = None
    ) -> None:
        openvino = openvino_module()
        manifest = manifest or read_manifest(folder)
        path = folder / manifest.entry
        self.name, self.dim = manifest.name, manifest.dim
        self._tokenizer = load_tokenizer(folder / "tokenizer.json", max_tokens=manifest.max_tokens)
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

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        return token_rows(self._tokenizer, texts, prompt=prompt)

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:
        rows = self.token_ids(texts, prompt=prompt)
        vectors = run_of_one_length(
            rows, self._run, dim=self.dim, budget=TOKEN_BUDGET, on_progress=on_progress
        )
        return unit_rows(vectors, texts, dim=dim, source=self.name)

    def encode_padded(
        self, rows: Sequence[Sequence[int]], *, width: int, left: bool = False
    ) -> Vectors:
        vectors = self._run(*padded(rows, width=width, left=left))
        return unit_rows(vectors, ["padded"] * len(rows), dim=None, source=self.name)

    def _run(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Vectors:
        found = self._model({"input_ids": ids, "attention_mask": mask})
        vectors: Vectors = np.array(found["sentence_embedding"])  # its buffer is used again
        return vectors

    def close(self) -> None:
        del self._model, self._tokenizer
        release_memory()
