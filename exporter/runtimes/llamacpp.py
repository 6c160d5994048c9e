"""A GGUF artifact in llama.cpp."""

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import BadInput, MissingDependency
from exporter.manifest import Manifest, read_manifest
from exporter.progress import Progress
from exporter.runtimes.encoder import Vectors, unit_rows
from exporter.runtimes.memory import release_memory


def _silence() -> Any:
    import llama_cpp

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def drop(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
        del level, text, user_data

    llama_cpp.llama_log_set(drop, ctypes.c_void_p(0))
    return drop


# llama.cpp's threads wait for each other busily: on a small model the waiting costs more than the
# work (a 10 MB model: 1.2 s with one thread, 27 s with two on a loaded two-core machine).
ONE_THREAD_BYTES = 50_000_000


@contextlib.contextmanager
def _plain_buffers(library: Any) -> Iterator[None]:
    """Keep llama.cpp from repacking weights for the CPU at hand while a model is loaded.

    llama-cpp-python 0.3.36 crashes on Q8_0 in the AMX buffers (seen on a Xeon with amx_int8), and
    repacked weights would make vectors depend on the machine. `Llama` does not pass the
    parameter on, so the default it starts from is changed for the moment.
    """
    module = library.llama_cpp
    original = module.llama_model_default_params

    def without_extra_buffers() -> Any:
        parameters = original()
        parameters.use_extra_bufts = False
        return parameters

    module.llama_model_default_params = without_extra_buffers
    try:
        yield
    finally:
        module.llama_model_default_params = original


class LlamaCppEncoder:
    """Encoder of an artifact folder written by `export gguf`, or of another folder with such a file
    and the `manifest` of the artifact. See `runtimes.encoder.Encoder`.

    Every text is one sequence decoded by itself: no companions, no padding. Text is tokenized by
    llama.cpp, from the vocabulary in the file.
    """

    _log: Any = None

    def __init__(
        self, folder: Path, *, threads: int | None = None, manifest: Manifest | None = None
    ) -> None:
        try:
            import llama_cpp
        except ImportError:
            raise MissingDependency("llama_cpp", extra="llamacpp") from None
        manifest = manifest or read_manifest(folder)
        self.name, self.dim = manifest.name, manifest.dim
        self._limit = manifest.max_tokens
        path = folder / manifest.entry
        with path.open("rb") as handle:
            if handle.read(4) != b"GGUF":
                raise BadInput(f"'{path}' is not a GGUF file; export it again")
        if LlamaCppEncoder._log is None:
            # Kept for the life of the process: llama.cpp holds the pointer.
            LlamaCppEncoder._log = _silence()
        self._library = llama_cpp
        if threads is None and path.stat().st_size < ONE_THREAD_BYTES:
            threads = 1
        try:
            with _plain_buffers(llama_cpp):
                self._llama = llama_cpp.Llama(
                    str(path), embedding=True, n_ctx=self._limit, n_batch=self._limit,
                    n_ubatch=self._limit, n_threads=threads, n_threads_batch=threads,
                    verbose=False,
                )  # fmt: skip
        except (ValueError, RuntimeError) as error:
            raise BadInput(f"llama.cpp cannot load '{path}' ({error}); export it again") from None
        if self._llama.n_embd() != self.dim:
            raise BadInput(f"'{path}' gives {self._llama.n_embd()} dimensions, not {self.dim}")

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        return [self._ids(prompt + text) for text in texts]

    def _ids(self, text: str) -> list[int]:
        # Special names inside a text are parsed, as llama.cpp's server and tokenizer.json do.
        ids = list(self._llama.tokenize(text.encode("utf-8"), add_bos=True, special=True))
        if len(ids) > self._limit:
            ids = [*ids[: self._limit - 1], self._llama.token_eos()]
        return ids

    def encode(
        self, texts: Sequence[str], *, prompt: str = "", dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:  # fmt: skip
        vectors = np.empty((len(texts), self.dim), np.float32)
        for i, text in enumerate(texts):
            vectors[i] = self._run(self._ids(prompt + text))
            if on_progress is not None:
                on_progress(1)
        return unit_rows(vectors, texts, dim=dim, source=self.name)

    def encode_ids(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """Return (n, dim) unit rows of token ids, special tokens included, at most as many as the
        file's context holds."""
        vectors = np.stack([self._run(row) for row in rows])
        return unit_rows(vectors, ["token ids"] * len(rows), dim=None, source=self.name)

    def _run(self, ids: Sequence[int]) -> Vectors:
        context, batch = self._llama._ctx, self._llama._batch
        batch.reset()
        batch.add_sequence(ids, 0, True)
        context.kv_cache_clear()
        try:
            context.decode(batch)
        except RuntimeError as error:
            raise BadInput(
                f"llama.cpp cannot run {self.name} on {len(ids)} tokens ({error}); "
                "see what 'lawvault lint' says of the file"
            ) from None
        row = self._library.llama_get_embeddings_seq(context.ctx, 0)
        if not row:  # a null pointer: the file asks for no pooling
            raise BadInput(
                f"{self.name} gives no vector for a text, as its file asks for no pooling; "
                "see what 'lawvault lint' says of it"
            )
        vector: Vectors = np.ctypeslib.as_array(row, (self.dim,)).copy()
        return vector

    def close(self) -> None:
        self._llama.close()
        del self._llama
        release_memory()
