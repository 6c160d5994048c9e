"""A GGUF artifact in llama.cpp."""

import ctypes
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import BadInput, require
from exporter.formats.gguf.llamacpp_batch import batches
from exporter.formats.gguf.llamacpp_contexts import Contexts
from exporter.formats.gguf.llamacpp_kernels import batch_threads, extra_buffers, with_buffers
from exporter.formats.gguf.names import UNICODE_FORM
from exporter.manifest import Manifest, read_manifest
from exporter.progress import Progress
from exporter.runtimes.cores import core_count
from exporter.runtimes.encoder import Vectors, unit_rows
from exporter.runtimes.memory import release_memory


def _silence() -> Any:
    import llama_cpp

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def drop(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
        del level, text, user_data

    llama_cpp.llama_log_set(drop, ctypes.c_void_p(0))
    return drop


class LlamaCppEncoder:
    """Encoder of an artifact folder written by `export gguf`, or of another folder with such a file
    and the `manifest` of the artifact. See `runtimes.encoder.Encoder`.

    Texts of similar length are decoded together, each a sequence of its own, laid out so that a
    text's vector does not depend on its companions. Text is tokenized by llama.cpp, from the
    vocabulary in the file.
    """

    _log: Any = None

    def __init__(
        self, folder: Path, *, threads: int | None = None, manifest: Manifest | None = None
    ) -> None:
        require("llama_cpp")
        import llama_cpp

        manifest = manifest or read_manifest(folder)
        self.name, self.dim = manifest.name, manifest.dim
        self._limit = manifest.max_tokens
        self._form: Any = manifest.options.get(UNICODE_FORM)
        path = folder / manifest.entry
        with path.open("rb") as handle:
            if handle.read(4) != b"GGUF":
                raise BadInput(f"'{path}' is not a GGUF file; export it again")
        if LlamaCppEncoder._log is None:
            # Kept for the life of the process: llama.cpp holds the pointer.
            LlamaCppEncoder._log = _silence()
        if threads is None:
            threads, widest = core_count(), batch_threads(path.stat().st_size)
        else:
            widest = threads
        try:
            with with_buffers(llama_cpp, extra=extra_buffers()):
                # Its own context only has to be there.
                self._llama = llama_cpp.Llama(
                    str(path), embedding=True, n_ctx=64, n_batch=64, n_ubatch=64, verbose=False
                )
            self._contexts = Contexts(
                self._llama, limit=self._limit, threads=threads, widest=widest, name=self.name
            )
        except (ValueError, RuntimeError) as error:
            raise BadInput(f"llama.cpp cannot load '{path}' ({error}); export it again") from None
        if self._llama.n_embd() != self.dim:
            raise BadInput(f"'{path}' gives {self._llama.n_embd()} dimensions, not {self.dim}")

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        return [self._ids(prompt + text) for text in texts]

    def _ids(self, text: str) -> list[int]:
        if self._form is not None:
            text = unicodedata.normalize(self._form, text)
        # Special names inside a text are parsed, as llama.cpp's server and tokenizer.json do.
        ids = list(self._llama.tokenize(text.encode("utf-8"), add_bos=True, special=True))
        if len(ids) > self._limit:
            ids = [*ids[: self._limit - 1], self._llama.token_eos()]
        return ids

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:
        rows = [self._ids(prompt + text) for text in texts]
        return unit_rows(self._run(rows, on_progress), texts, dim=dim, source=self.name)

    def encode_ids(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """Return (n, dim) unit rows of token ids, special tokens included, at most as many as the
        file's context holds."""
        return unit_rows(self._run(rows), ["token ids"] * len(rows), dim=None, source=self.name)

    def _run(self, rows: Sequence[Sequence[int]], on_progress: Progress | None = None) -> Vectors:
        vectors = np.empty((len(rows), self.dim), np.float32)
        picked = list(batches([len(row) for row in rows]))
        decoded = self._contexts.decode([[rows[i] for i in batch] for batch in picked])
        for batch, found in zip(picked, decoded, strict=True):
            vectors[batch] = found
            if on_progress is not None:
                on_progress(len(batch))
        return vectors

    def close(self) -> None:
        self._contexts.close()
        self._llama.close()
        del self._llama
        release_memory()
