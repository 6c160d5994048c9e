"""An ONNX artifact in onnxruntime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from exporter.errors import BadInput, MissingDependency
from exporter.manifest import read_manifest
from exporter.runtimes.batching import batches_by_length, load_tokenizer, token_rows
from exporter.runtimes.encoder import Progress, Vectors, unit_rows

TOKEN_BUDGET = 4096


class OnnxEncoder:
    """Encoder of an artifact folder written by `export onnx`. See `runtimes.encoder.Encoder`."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingDependency("onnxruntime", extra="onnx") from None
        manifest = read_manifest(folder)
        self.name, self.dim = manifest.name, manifest.dim
        self._tokenizer = load_tokenizer(folder / "tokenizer.json", max_tokens=manifest.max_tokens)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        providers = [
            p for p in ("CUDAExecutionProvider", "CPUExecutionProvider")
            if p in onnxruntime.get_available_providers()
        ]  # fmt: skip
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / manifest.entry), options, providers=providers
            )
        except Exception as error:  # noqa: BLE001 - onnxruntime raises bare RuntimeErrors
            raise BadInput(
                f"onnxruntime cannot load '{folder / manifest.entry}' "
                f"({str(error).splitlines()[0]}); export it again"
            ) from None
        self._inputs = {i.name for i in self._session.get_inputs()}

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        return token_rows(self._tokenizer, texts, prompt=prompt)

    def encode(
        self, texts: Sequence[str], *, prompt: str = "", dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:  # fmt: skip
        vectors = np.empty((len(texts), self.dim), np.float32)
        rows = self.token_ids(texts, prompt=prompt)
        for picked, ids, mask in batches_by_length(rows, budget=TOKEN_BUDGET):
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
            feed = {name: value for name, value in feed.items() if name in self._inputs}
            vectors[picked] = self._session.run(["sentence_embedding"], feed)[0]
            if on_progress is not None:
                on_progress(len(picked))
        return unit_rows(vectors, texts, dim=dim, source=self.name)

    def close(self) -> None:
        del self._session
