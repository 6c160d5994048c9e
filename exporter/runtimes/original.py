"""The original in torch, as a source of vectors, and its token ids."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from exporter.checkpoint.contents import Checkpoint, Prompts, WindowChoice
from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.tokenizer import load_tokenizer
from exporter.checkpoint.window import both_windows
from exporter.runtimes.batching import token_rows
from exporter.runtimes.encoder import Encoder, Original, Portable, Source
from exporter.runtimes.identity import reference_identity
from exporter.runtimes.variants import variants_of


def reference_source(
    checkpoint: Checkpoint, dtype: Literal["float32", "bfloat16"], *, device: str | None = None
) -> Source:
    """Return the original in torch as a source of vectors, not loaded yet. It runs on CUDA where
    there is one and `device` names no other. Raises MissingDependency without torch."""
    from exporter.runtimes.torch_reference import (
        TorchReference,
        find_device,
        reference_name,
        require_reference,
    )

    require_reference(checkpoint)
    device, described = find_device(device)

    def load(*, threads: int | None = None) -> Encoder:
        del threads  # torch's own setting, of the whole process
        return TorchReference(checkpoint, dtype=dtype, device=device)

    return Source(
        name=reference_name(dtype, checkpoint),
        dim=checkpoint.dim,
        identity=reference_identity(checkpoint, dtype=dtype, device=described),
        open=load,
        portable=_portable(checkpoint, dtype),
    )


def _portable(checkpoint: Checkpoint, dtype: Literal["float32", "bfloat16"]) -> Portable | None:
    """Return how the original travels; None for an adapter, whose base lies elsewhere."""
    if checkpoint.adapter is not None:
        return None
    return Portable(
        folder=checkpoint.path,
        files=tuple((path, digest) for path, _, digest in checkpoint.file_hashes()),
        open_at=partial(
            _reference_at, dtype=dtype, window=checkpoint.window_choice, prompts=checkpoint.prompts
        ),
    )


def _reference_at(
    folder: Path, *, dtype: Literal["float32", "bfloat16"], window: WindowChoice, prompts: Prompts
) -> Source:
    return reference_source(read_checkpoint(folder, window=window, prompts=prompts), dtype)


class CheckpointTokens:
    """The token ids that the original reads, without loading it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._tokenizer = load_tokenizer(
            checkpoint.path / "tokenizer.json", max_tokens=checkpoint.max_tokens
        )

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, special tokens included, cut as the original cuts."""
        return token_rows(self._tokenizer, texts)

    def is_cut(self, text: str) -> bool:
        """Return whether the text has more tokens than the original reads."""
        return bool(self._tokenizer.encode(text).overflowing)

    def whole(self, text: str) -> list[int]:
        """Return the ids of a text, of what is cut off too."""
        found = self._tokenizer.encode(text)
        return [*found.ids, *(i for part in found.overflowing for i in part.ids)]

    def piece(self, token: int) -> str:
        """Return the piece of an id."""
        return str(self._tokenizer.id_to_token(token))

    def spelled(self, ids: Sequence[int]) -> str:
        """Return the text that ids spell, special tokens by their names."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def open_original(checkpoint: Checkpoint, *, device: str | None = None) -> Original:
    """Return the ways to run `checkpoint` in torch, none of them loaded yet.

    Raises MissingDependency without torch.
    """
    other = None
    if both_windows(checkpoint) is not None:
        choice: WindowChoice = "repaired" if checkpoint.window_choice == "as-saved" else "as-saved"
        mended = read_checkpoint(
            checkpoint.source, base=checkpoint.base, window=choice, prompts=checkpoint.prompts
        )
        other = reference_source(mended, "float32", device=device)
    return Original(
        checkpoint=checkpoint,
        truth=reference_source(checkpoint, "float32", device=device),
        used=reference_source(checkpoint, "bfloat16", device=device),
        tokens=CheckpointTokens(checkpoint),
        other_window=other,
        variants=variants_of(checkpoint, device=device),
    )
