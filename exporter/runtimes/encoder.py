"""The one thing that parity knows of a runtime."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Checkpoint
from exporter.progress import Progress

Vectors = npt.NDArray[np.float32]


@runtime_checkable
class Encoder(Protocol):
    """A model in a runtime. Texts are encoded as given: neither stripped nor prompted unless
    `prompt`, a literal prefix, says so. Over-long texts are cut as the reference cuts them,
    the end token kept."""

    name: str
    """For people: `onnx-int8`, `torch fp32`."""
    dim: int
    """Width of a vector when `encode` is called without `dim`."""

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        """Return the ids that the model reads for each text, special tokens included, truncated."""
        ...

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:
        """Return (n, dim) float32 unit rows, in the order of `texts`.

        `dim` truncates before normalising. Raises BadInput naming the text where a vector is
        not finite.
        """
        ...

    def close(self) -> None:
        """Free the model. The encoder must not be used afterwards."""
        ...


@runtime_checkable
class PaddedEncoder(Encoder, Protocol):
    """An encoder whose batches are padded, and which lets a caller say how: for measuring."""

    def encode_padded(
        self, rows: Sequence[Sequence[int]], *, width: int, left: bool = False
    ) -> Vectors:
        """Return (n, dim) unit rows of token ids padded to `width`, run as exactly one batch."""
        ...


class OpenEncoder(Protocol):
    """Loads an encoder. `threads`: how many it may use, None for its default."""

    def __call__(self, *, threads: int | None = None) -> Encoder: ...


@dataclass(frozen=True)
class Portable:
    """How a source is made again on another machine: `open_at` of a folder there with the same
    `files`, each (name below `folder`, sha256). `open_at` can be pickled."""

    folder: Path
    files: tuple[tuple[str, str], ...]
    open_at: "Callable[[Path], Source]"

    @property
    def digest(self) -> str:
        """Return the hash of all names and hashes."""
        return hashlib.sha256(repr(self.files).encode()).hexdigest()


@dataclass(frozen=True)
class Source:
    """An encoder that is loaded only when a text has to be encoded.

    `identity`: everything besides the text that decides a vector, for caches; JSON values only.
    `kernels`: which of its runtime's kernels run here, where that decides vectors. `portable`: how
    it travels; None: not at all.
    """

    name: str
    dim: int
    identity: Mapping[str, Any]
    open: OpenEncoder
    kernels: str | None = None
    portable: Portable | None = None


class TokenIds(Protocol):
    """The ids that the original reads for each text, whether it cuts a text, all that a text has
    beyond the cut too, the piece of an id, and the text that ids spell, special tokens too."""

    def __call__(self, texts: Sequence[str], /) -> list[list[int]]: ...

    def is_cut(self, text: str, /) -> bool: ...

    def whole(self, text: str, /) -> list[int]: ...

    def piece(self, token: int, /) -> str: ...

    def spelled(self, ids: Sequence[int], /) -> str: ...


@dataclass(frozen=True)
class Variant:
    """The original with a mistake inside. `said`: what its vectors are; `load`: loads it.

    `beyond`: it differs only for texts of more tokens; None: for all. `remedy`: what to pass where
    vectors that were made so are meant.
    """

    said: str
    load: Callable[[], Encoder]
    beyond: int | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Original:
    """The checkpoint and the ways to run it. `truth` is torch fp32, `used` torch bf16.

    `other_window` is torch fp32 with the window that `checkpoint` was not read with; None where
    the window shows no damage.
    """

    checkpoint: Checkpoint
    truth: Source
    used: Source
    tokens: TokenIds
    other_window: Source | None = None
    variants: tuple[Variant, ...] = ()
    """The same loaded wrongly."""


def unit_rows(vectors: Vectors, texts: Sequence[str], *, dim: int | None, source: str) -> Vectors:
    """Cut rows to `dim` and scale them to length 1. vectors: (n, d) float32. Returns (n, dim).

    Raises BadInput naming the first text whose row is not finite or is zero, and `source`, the
    encoder that gave it.
    """
    from exporter.errors import BadInput

    if dim is not None and not 0 < dim <= vectors.shape[1]:
        raise BadInput(f"dim {dim} is not between 1 and {vectors.shape[1]}, the width of {source}")
    rows = np.ascontiguousarray(vectors[:, :dim], dtype=np.float32)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if bad.size:
        text = texts[int(bad[0])]
        shown = text if len(text) <= 60 else text[:59] + "…"
        raise BadInput(
            f"{source} gave a vector that is not finite or is zero for {bad.size} of "
            f"{len(texts)} texts, first for {shown!r}; see 'lawvault inspect' for the range of fp16"
        )
    unit: Vectors = (rows / norms[:, None]).astype(np.float32)
    return unit
