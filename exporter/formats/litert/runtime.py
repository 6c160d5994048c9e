"""A LiteRT artifact in LiteRT's interpreter."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput, require
from exporter.manifest import Manifest, read_manifest
from exporter.quiet import stderr_dropped
from exporter.runtimes.encoder import Vectors
from exporter.runtimes.graph_encoder import GraphEncoder
from exporter.runtimes.memory import release_memory

SIGNATURE = "tokens_"


class LiteRtEncoder(GraphEncoder):
    """Encoder of an artifact folder written by `export litert`, or of another folder with such a
    file and the `manifest` of the artifact. See `runtimes.encoder.Encoder`.

    A text runs alone, in the shortest signature that holds its tokens, padded on the right.
    """

    def __init__(
        self, folder: Path, *, threads: int | None = None, manifest: Manifest | None = None
    ) -> None:
        require("ai_edge_litert")
        from ai_edge_litert.interpreter import Interpreter

        manifest = manifest or read_manifest(folder)
        path = folder / manifest.entry
        super().__init__(folder, manifest)
        try:
            with stderr_dropped():
                self._model: Any = Interpreter(str(path), num_threads=threads)
            names = self._model.get_signature_list()
        except (RuntimeError, ValueError) as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise BadInput(f"LiteRT cannot load '{path}' ({reason}); export it again") from None
        self._lengths = sorted(int(name.removeprefix(SIGNATURE)) for name in names)
        self._runners: dict[int, Any] = {}

    def _run(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Vectors:
        room = ((0, 0), (0, self._length(ids.shape[1]) - ids.shape[1]))
        ids, mask = np.pad(ids, room), np.pad(mask, room)
        return np.stack([self._one(ids[i : i + 1], mask[i : i + 1]) for i in range(len(ids))])

    def _length(self, tokens: int) -> int:
        return next(length for length in self._lengths if length >= tokens)

    def _one(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Vectors:
        length = ids.shape[1]
        given = {"input_ids": ids.astype(np.int32), "attention_mask": mask.astype(np.int32)}
        if length in self._runners:
            found = self._runners[length](**given)
        else:
            with stderr_dropped():  # it says once which delegate it has
                self._runners[length] = self._model.get_signature_runner(f"{SIGNATURE}{length}")
                found = self._runners[length](**given)
        (vector,) = found.values()
        made: Vectors = np.array(vector[0], np.float32)  # its buffer is used again
        return made

    def close(self) -> None:
        del self._model, self._runners, self._tokenizer
        release_memory()
