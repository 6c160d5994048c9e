"""How several texts lie in one batch of llama.cpp, so that none changes another's vector.

llama.cpp attends over the whole batch and masks what belongs to other sequences. Masked products
are exact zeros, but they decide which numbers a vector register adds up together, and one last
digit turns an activation to the next 8-bit step: vectors then differ by the file's own error (1e-4
on a Q8_0 of 300 M parameters). So a text always begins at the start of a register, in a batch that
fills whole registers, and never with fewer sequences than the matrix kernels need: alone or in
company, its sums are then the same ones.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

BATCH_TOKENS = 256
"""Of several texts. More tokens gain nothing: attention costs their square, and llama.cpp reserves
4 bytes for each with each piece of the vocabulary, 1 MB a token for Gemma's, though embeddings need
none of it."""
SHARED_TOKENS = 512
"""A text of more gets a context of its own."""
REGISTER = 16
"""float32 in 512 bits, the widest there are. Narrower ones divide it."""
LEAST_SEQUENCES = 4
"""llama.cpp's matrix kernels leave products with fewer rows to others, which add in another
order; the pooled vectors are such rows."""


class Cell(NamedTuple):
    """One token of a batch: its id, its place in its sequence, and the sequence."""

    token: int
    place: int
    sequence: int


def padded_length(tokens: int) -> int:
    """Return the room that a text of so many tokens takes in a batch."""
    return tokens + -tokens % REGISTER


def room_for(limit: int, *, sequences: int) -> int:
    """Return the tokens to give a context where a text has at most `limit`.

    A multiple of `sequences`, the most there may be in it: llama.cpp aborts where tokens cannot be
    shared out among them evenly (https://github.com/ggml-org/llama.cpp/issues/27175).
    """
    longest = max(BATCH_TOKENS, padded_length(limit)) + REGISTER
    return longest + -longest % sequences


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the indices of the texts of each batch, shortest texts first.

    lengths: (n,) tokens of each text. Padded, a batch has at most BATCH_TOKENS; a longer text is
    one of its own.
    """
    batch: list[int] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        needed = padded_length(lengths[index])
        if batch and room + needed > BATCH_TOKENS:
            yield batch
            batch, room = [], 0
        batch.append(index)
        room += needed
    if batch:
        yield batch


def lay_out(rows: Sequence[Sequence[int]], *, filler: int) -> list[Cell]:
    """Return the cells of a batch; text i is sequence i.

    Gaps hold the token `filler`, in sequences behind those of the texts, whose vectors nobody
    reads.
    """
    spare = max(1, LEAST_SEQUENCES - len(rows))
    gaps = [padded_length(len(row)) - len(row) for row in rows]
    if len(rows) < LEAST_SEQUENCES and sum(gaps) < spare:
        gaps[-1] += REGISTER
    cells: list[Cell] = []
    filled = 0
    for sequence, (row, gap) in enumerate(zip(rows, gaps, strict=True)):
        cells += [Cell(token, place, sequence) for place, token in enumerate(row)]
        for number in range(filled, filled + gap):
            last = min(number, spare - 1)
            # All at the first place: a table of positions may end before the batch does.
            cells.append(Cell(filler, 0, len(rows) + last))
        filled += gap
    return cells
