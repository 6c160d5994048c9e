"""Several texts in one batch of llama.cpp: where they lie, and that it changes no vector."""

import itertools
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.formats.gguf import llamacpp_batch, llamacpp_contexts
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.llamacpp_batch import (
    BATCH_TOKENS,
    LEAST_SEQUENCES,
    REGISTER,
    batches,
    lay_out,
    padded_length,
    room_for,
)
from exporter.formats.gguf.llamacpp_contexts import SEQUENCES, Context
from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.parity.compare import row_cosines
from exporter.runtimes.encoder import Vectors
from parity_tests.conftest import BUNDLED_CORPUS, LAWVAULT_PROMPTS, MINIATURE

FILLER = 1
LIMIT = 512
"""Tokens that the miniature reads."""
ERROR_MAX = 1e-9
"""1 - cosine of a text alone and in company. Measured on x86-64: 0; on the miniature 6e-7 without
the layout, on real weights 3e-4."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("gguf") / "miniature"
    export_gguf(read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS), output)
    return output


@pytest.fixture(scope="module")
def miniature(folder: Path) -> LlamaCppEncoder:
    return LlamaCppEncoder(folder)


def corpus_texts(count: int) -> list[str]:
    return list(read_corpus(BUNDLED_CORPUS).texts[:count])


def worst(a: Vectors, b: Vectors) -> float:
    return float((1 - row_cosines(a, b)).max())


@pytest.mark.parametrize(
    "lengths",
    [[1], [16], [15, 16], [16, 16, 16], [16] * 4, [5, 30, 2, 17, 64], [3] * 9, [512], [2_048]],
    ids=str,
)
def test_texts_begin_at_a_register_and_a_batch_fills_whole_ones(lengths: list[int]) -> None:
    cells = lay_out([[7] * n for n in lengths], filler=FILLER)
    assert len(cells) % REGISTER == 0
    assert len(cells) <= sum(map(padded_length, lengths)) + REGISTER
    sizes = Counter(cell.sequence for cell in cells)
    assert [sizes[i] for i in range(len(lengths))] == lengths
    assert len(sizes) >= LEAST_SEQUENCES
    for sequence in sizes:
        found = [(at, c) for at, c in enumerate(cells) if c.sequence == sequence]
        # llama.cpp takes the tokens of a sequence in order and without a gap in their places; what
        # fills gaps stays at the first, however few places the model has.
        count = sizes[sequence]
        places = list(range(count)) if sequence < len(lengths) else [0] * count
        assert [cell.place for _, cell in found] == places
        if sequence < len(lengths):
            places = [at for at, _ in found]
            assert places[0] % REGISTER == 0
            assert places == list(range(places[0], places[0] + len(places)))
        else:
            assert {cell.token for _, cell in found} == {FILLER}


def test_batches_hold_every_text_once_sorted_and_within_the_budget() -> None:
    lengths = [900, 3, 500, 512, 513, *range(1, 200), 40, 40]
    found = list(batches(lengths))
    order = list(itertools.chain.from_iterable(found))
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i] for i in order] == sorted(lengths)
    for batch in found:
        assert len(batch) == 1 or sum(padded_length(lengths[i]) for i in batch) <= BATCH_TOKENS
    assert list(batches([])) == []


@pytest.mark.parametrize("limit", [8, 64, 500, 512, 2_048, 8_192])
def test_a_context_has_room_for_every_batch_and_no_more_for_more_sequences(limit: int) -> None:
    room = room_for(limit, sequences=SEQUENCES)
    assert room % SEQUENCES == 0
    assert len(lay_out([[7] * limit], filler=FILLER)) <= room
    assert room <= max(limit, BATCH_TOKENS) + 2 * SEQUENCES
    most = [[7]] * (BATCH_TOKENS // REGISTER)
    assert max(cell.sequence for cell in lay_out(most, filler=FILLER)) < SEQUENCES


def test_a_batch_gives_the_vectors_of_texts_alone_in_the_order_given(
    miniature: LlamaCppEncoder,
) -> None:
    texts = corpus_texts(40)
    alone = np.concatenate([miniature.encode([text]) for text in texts])
    assert worst(miniature.encode(texts), alone) <= ERROR_MAX
    assert worst(miniature.encode(texts[::-1])[::-1], alone) <= ERROR_MAX
    ids = miniature.token_ids(texts)
    assert worst(miniature.encode_ids(ids), alone) <= ERROR_MAX
    # Neighbours differ by far more: a swapped row would show.
    assert worst(alone[1:], alone[:-1]) > 1e-2


def test_texts_that_begin_anywhere_in_a_register_would_give_other_vectors(
    miniature: LlamaCppEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = corpus_texts(40)
    alone = np.concatenate([miniature.encode([text]) for text in texts])
    monkeypatch.setattr(llamacpp_batch, "REGISTER", 1)
    assert worst(miniature.encode(texts), alone) > ERROR_MAX


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
def test_threads_change_no_vector(miniature: LlamaCppEncoder, folder: Path, threads: int) -> None:
    texts = corpus_texts(12)
    encoder = LlamaCppEncoder(folder, threads=threads)
    assert worst(encoder.encode(texts), miniature.encode(texts)) <= ERROR_MAX
    assert worst(encoder.encode(texts[:1]), miniature.encode(texts[:1])) <= ERROR_MAX
    encoder.close()


def test_long_texts_get_a_context_of_their_own_and_short_ones_theirs_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp_contexts, "SHARED_TOKENS", 128)
    made: list[int] = []

    class Watched(Context):
        def __init__(self, llama: Any, *, limit: int, name: str) -> None:
            made.append(limit)
            super().__init__(llama, limit=limit, name=name)

    monkeypatch.setattr(llamacpp_contexts, "Context", Watched)
    encoder = LlamaCppEncoder(folder)
    short, long = corpus_texts(9), ["租赁合同" * n for n in (60, 900, 5_000)]
    assert max(map(len, encoder.token_ids(short))) <= 128
    assert min(map(len, encoder.token_ids(long))) > 128
    encoder.encode([*short, *long])
    assert made[-1] == LIMIT
    encoder.encode(short)
    assert made[-1] == 128
    alone = np.concatenate([encoder.encode([text]) for text in [*long, *short]])
    assert worst(encoder.encode([*long, *short]), alone) <= ERROR_MAX
    assert worst(encoder.encode(short), alone[3:]) <= ERROR_MAX


def test_progress_comes_batch_by_batch(miniature: LlamaCppEncoder) -> None:
    seen: list[int] = []
    miniature.encode(corpus_texts(40), on_progress=seen.append)
    assert sum(seen) == 40
    assert len(seen) > 1
    assert max(seen) > 1


@pytest.mark.slow
def test_a_batch_gives_the_vectors_of_texts_alone_on_real_weights(tmp_path: Path) -> None:
    checkpoint = os.environ.get("LAWVAULT_REAL_CHECKPOINT")
    if not checkpoint:
        pytest.skip("LAWVAULT_REAL_CHECKPOINT names no folder of google/embeddinggemma-300m")
    export_gguf(read_checkpoint(Path(checkpoint)), tmp_path / "g")
    encoder = LlamaCppEncoder(tmp_path / "g")
    texts = corpus_texts(24)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert worst(encoder.encode(texts), alone) <= ERROR_MAX
