"""The original as parity needs it: both references, its tokens, and the other window."""

from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.records import Checkpoint, WindowChoice
from exporter.parity.conventions import both_windows
from exporter.parity.run import Original
from exporter.runtimes.open import CheckpointTokens, reference_source


def open_original(checkpoint: Checkpoint, *, device: str | None = None) -> Original:
    """Return the ways to run `checkpoint` in torch, none of them loaded yet.

    Raises MissingDependency without torch.
    """
    other = None
    if both_windows(checkpoint) is not None:
        choice: WindowChoice = "repaired" if checkpoint.window_choice == "as-saved" else "as-saved"
        mended = read_checkpoint(checkpoint.path, window=choice, prompts=checkpoint.prompts)
        other = reference_source(mended, "float32", device=device)
    return Original(
        checkpoint=checkpoint,
        truth=reference_source(checkpoint, "float32", device=device),
        used=reference_source(checkpoint, "bfloat16", device=device),
        tokens=CheckpointTokens(checkpoint),
        other_window=other,
    )
