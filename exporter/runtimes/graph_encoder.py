"""What encoders of graphs have in common: a tokenizer, ids and masks, rows of one width."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.tokenizer import load_tokenizer
from exporter.errors import BadInput
from exporter.manifest import Manifest
from exporter.progress import Progress
from exporter.runtimes.batching import padded, run_of_one_length, token_rows
from exporter.runtimes.encoder import Vectors, unit_rows

TOKEN_BUDGET = 4096


class GraphEncoder(ABC):
    """Base of encoders whose graph takes ids and a mask. See `runtimes.encoder.PaddedEncoder`.

    A batch holds texts of one length and at most `batch_tokens` tokens, so that nothing is padded:
    kernels round differently with another padded length (1e-7 in float32; in int8 a rounding may
    flip, 2e-3 in a component), and a text's vector must not depend on its companions.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, *, batch_tokens: int = TOKEN_BUDGET
    ) -> None:
        self.name, self.dim, self._batch_tokens = manifest.name, manifest.dim, batch_tokens
        self._tokenizer = load_tokenizer(folder / "tokenizer.json", max_tokens=manifest.max_tokens)

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
            rows, self._checked, dim=self.dim, budget=self._batch_tokens, on_progress=on_progress
        )
        return unit_rows(vectors, texts, dim=dim, source=self.name)

    def encode_padded(
        self, rows: Sequence[Sequence[int]], *, width: int, left: bool = False
    ) -> Vectors:
        vectors = self._checked(*padded(rows, width=width, left=left))
        return unit_rows(vectors, ["padded"] * len(rows), dim=None, source=self.name)

    def _checked(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Vectors:
        vectors = self._run(ids, mask)
        if vectors.shape != (len(ids), self.dim):
            raise BadInput(
                f"{self.name} gives vectors of {vectors.shape[-1]} components, its manifest says "
                f"{self.dim}; export it again"
            )
        return vectors

    @abstractmethod
    def _run(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Vectors:
        """Return the graph's (batch, dim) vectors. ids, mask: (batch, sequence)."""

    @abstractmethod
    def close(self) -> None:
        """Free the model."""
