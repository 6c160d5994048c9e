"""Calibration texts -> token rows, batches and the table rows they need; finite or refused."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import TABLE
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.safetensors_file import read_row_blocks
from exporter.checkpoint.tokenizer import load_tokenizer
from exporter.errors import BadInput

TOKEN_BUDGET = 2048  # padded tokens a batch


def token_rows(checkpoint: Checkpoint, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each text, special tokens included, cut at the checkpoint's limit."""
    tokenizer = load_tokenizer(checkpoint.path / "tokenizer.json", max_tokens=checkpoint.max_tokens)
    return [list(e.ids) for e in tokenizer.encode_batch(list(texts))]


def table_rows(checkpoint: Checkpoint, rows: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return some rows of the embedding table, (n, hidden) float32; the table is streamed."""
    table = checkpoint.tensors[TABLE]
    wanted = np.asarray(rows)
    made = np.empty((len(rows), table.shape[1]), np.float32)
    start = 0
    for block in read_row_blocks(table, block_bytes=1 << 24):
        here = (wanted >= start) & (wanted < start + len(block))
        made[here] = block[wanted[here] - start]
        start += len(block)
    return made


def batch_by_length(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield indices of rows, shortest first, at most 2,048 padded tokens at a time."""
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), i))
    picked: list[int] = []
    for i in order:
        if picked and len(rows[i]) * (len(picked) + 1) > TOKEN_BUDGET:
            yield picked
            picked = []
        picked.append(i)
    if picked:
        yield picked


def check_finite(pooled: npt.NDArray[np.float32], texts: Sequence[str]) -> None:
    """Raise BadInput naming the first text whose activations are not finite."""
    bad = np.flatnonzero(~np.isfinite(pooled).all(axis=1))
    if bad.size:
        text = texts[int(bad[0])]
        shown = text if len(text) <= 60 else text[:59] + "…"
        raise BadInput(
            f"{bad.size} of {len(texts)} calibration texts give activations that are not finite "
            f"in float32, first {shown!r}; remove the text, or re-save a sound checkpoint"
        )
