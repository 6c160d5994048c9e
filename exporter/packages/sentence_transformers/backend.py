"""A packaged folder in sentence-transformers, with its ONNX backend."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import BadInput, reason_of, require
from exporter.progress import Progress
from exporter.runtimes.encoder import Vectors, unit_rows
from exporter.runtimes.memory import release_memory


class SentenceTransformersEncoder:
    """Encoder of one `file` of a package for sentence-transformers, loaded as its users load it.

    Each text is a batch of its own, and no prompt of the folder is applied. Raises BadInput where
    it cannot be loaded, MissingDependency without the libraries.
    """

    def __init__(self, folder: Path, file: str, *, dim: int) -> None:
        require("sentence_transformers", "optimum.onnxruntime")
        from sentence_transformers import SentenceTransformer

        self.name, self.dim = f"{file} in sentence-transformers", dim
        chosen = {"file_name": file, "provider": "CPUExecutionProvider"}
        try:
            self._model: Any = SentenceTransformer(
                str(folder),
                backend="onnx",
                device="cpu",
                local_files_only=True,
                model_kwargs=chosen,
            )
        except Exception as error:  # noqa: BLE001 - optimum, transformers, onnxruntime: each its own
            first = reason_of(error)
            raise BadInput(
                f"sentence-transformers cannot load '{folder / file}' ({first})"
            ) from None

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        # Renamed in sentence-transformers 5.5.
        tokenize = getattr(self._model, "preprocess", None) or self._model.tokenize
        return [tokenize([prompt + text])["input_ids"][0].tolist() for text in texts]

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:
        made = self._model.encode(
            list(texts), prompt=prompt, batch_size=1, truncate_dim=dim, convert_to_numpy=True
        )
        if on_progress is not None:
            on_progress(len(texts))
        return unit_rows(np.asarray(made, np.float32), texts, dim=dim, source=self.name)

    def close(self) -> None:
        del self._model
        release_memory()
