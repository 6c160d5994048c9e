"""Contexts of one llama.cpp model side by side, each with batches of its own.

llama.cpp's threads meet after every operation, a thousand times a batch, and wait busily: on a
machine that does anything else they mostly wait. Contexts meet once a batch, and share the weights.
"""

import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from exporter.errors import BadInput
from exporter.formats.gguf.llamacpp_batch import SHARED_TOKENS, lay_out, padded_length, room_for
from exporter.runtimes.encoder import Vectors

MOST_CONTEXTS = 4
"""What they hold adds up: half a gigabyte each where texts have 512 tokens of Gemma's."""
SEQUENCES = 32
"""The most in a batch: its texts have 16 tokens at least, padded."""

SPLIT_TOKENS = 512
"""Of the parts in which a long text is decoded where its last token alone is pooled: attention
needs room for each token of a part with each before it, and 32,768 by 32,768 is no room to have."""
LAST = 3
"""llama.cpp's LLAMA_POOLING_TYPE_LAST."""

Rows = Sequence[Sequence[int]]


class Context:
    """A context of the model that `llama` (llama_cpp.Llama) holds, for texts of up to `limit`
    tokens. Raises ValueError where llama.cpp cannot make one."""

    def __init__(self, llama: Any, *, limit: int, name: str) -> None:
        import llama_cpp
        from llama_cpp import _internals

        self._library, self._name = llama_cpp, name
        self._dim, self._filler = llama.n_embd(), llama.token_eos()
        # One batch, whatever the number of sequences: nothing is read of an earlier one.
        size = room_for(limit, sequences=SEQUENCES)
        parameters = type(llama.context_params).from_buffer_copy(llama.context_params)
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = size
        if _pools_last(llama):
            parameters.n_ubatch = min(size, room_for(SPLIT_TOKENS, sequences=SEQUENCES))
        parameters.n_seq_max, parameters.kv_unified = SEQUENCES, True
        self._context = _internals.LlamaContext(
            model=llama._model, params=parameters, verbose=False
        )
        self._batch = _internals.LlamaBatch(n_tokens=size, embd=0, n_seq_max=1, verbose=False)

    def decode(self, rows: Rows, *, threads: int) -> Vectors:
        """Return the pooled vectors of token ids, (n, dim) float32 of any length."""
        self._library.llama_set_n_threads(self._context.ctx, threads, threads)
        batch, cells = self._batch.batch, lay_out(rows, filler=self._filler)
        for at, cell in enumerate(cells):
            batch.token[at], batch.pos[at] = cell.token, cell.place
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, cell.sequence
            batch.logits[at] = True
        batch.n_tokens = len(cells)
        self._context.kv_cache_clear()
        try:
            self._context.decode(self._batch)
        except RuntimeError as error:
            raise BadInput(
                f"llama.cpp cannot run {self._name} on {sum(map(len, rows))} tokens ({error}); "
                "see what 'lawvault lint' says of the file"
            ) from None
        return np.stack([self._pooled(sequence) for sequence in range(len(rows))])

    def _pooled(self, sequence: int) -> Vectors:
        row = self._library.llama_get_embeddings_seq(self._context.ctx, sequence)
        if not row:  # a null pointer: the file asks for no pooling
            raise BadInput(
                f"{self._name} gives no vector for a text, as its file asks for no pooling; "
                "see what 'lawvault lint' says of it"
            )
        vector: Vectors = np.ctypeslib.as_array(row, (self._dim,)).copy()
        return vector

    def close(self) -> None:
        self._batch.close()
        self._context.close()


def _pools_last(llama: Any) -> bool:
    """Return whether the file pools the last token, so that a text may be decoded in parts."""
    architecture = llama.metadata.get("general.architecture")
    return bool(llama.metadata.get(f"{architecture}.pooling_type") == str(LAST))


class Contexts:
    """As many contexts as `threads`, at most MOST_CONTEXTS, made when they are needed.

    `widest`: the most threads that one batch takes. Texts of more than SHARED_TOKENS tokens get a
    context that is there for them alone: what it holds grows with their square.
    """

    def __init__(self, llama: Any, *, limit: int, threads: int, widest: int, name: str) -> None:
        self._llama, self._limit, self._name = llama, limit, name
        self._threads, self._widest = threads, widest
        self._idle: queue.SimpleQueue[Context] = queue.SimpleQueue()
        self._made = 0
        self._make(1)

    def _make(self, count: int) -> None:
        while self._made < count:
            limit = min(self._limit, SHARED_TOKENS)
            self._idle.put(Context(self._llama, limit=limit, name=self._name))
            self._made += 1

    def decode(self, batches: Sequence[Rows]) -> Iterator[Vectors]:
        """Yield the vectors of each batch, in their order. The longest texts must come last."""
        short = [batch for batch in batches if padded_length(len(batch[-1])) <= SHARED_TOKENS]
        beside = max(1, min(self._threads, MOST_CONTEXTS, len(short)))
        self._make(beside)
        one = partial(self._decode, threads=min(self._widest, self._threads // beside))
        if beside == 1:
            yield from map(one, short)
        else:
            with ThreadPoolExecutor(beside) as pool:
                yield from pool.map(one, short)
        if len(short) < len(batches):
            self.close()
            limit = self._limit
            if _pools_last(self._llama):  # keys and values take room for each token
                limit = max(len(row) for batch in batches for row in batch)
            context = Context(self._llama, limit=limit, name=self._name)
            try:
                for batch in batches[len(short) :]:
                    yield context.decode(batch, threads=min(self._widest, self._threads))
            finally:
                context.close()

    def _decode(self, batch: Rows, *, threads: int) -> Vectors:
        context = self._idle.get()
        try:
            return context.decode(batch, threads=threads)
        finally:
            self._idle.put(context)

    def close(self) -> None:
        """Free what the contexts hold; they are made again when needed."""
        while self._made:
            self._idle.get().close()
            self._made -= 1
