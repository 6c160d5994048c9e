"""The sliding window, and the damage that saving with transformers does to it.

transformers halves config.json's `sliding_window` at load for bidirectional models
(512 -> 512 // 2 + 1 = 257, an exclusive bound) and, until
https://github.com/huggingface/transformers/pull/47940, wrote the halved value back on save; the
next load halves it again.
"""

from exporter.checkpoint.contents import Checkpoint, Finding, WindowChoice

ORIGINAL_OF_BASE = {(768, 24): 512}  # google/embeddinggemma-300m: (hidden, layers) -> window


def repaired_window(saved: int, *, hidden: int, layers: int) -> int | None:
    """Return the raw window before the damage, or None where `saved` shows none.

    A halved value is one more than half an even window; windows are powers of two, so 2^k + 1
    is the mark. For the base model's own shape its published window is known outright.
    """
    if saved < 9 or (saved - 1) & (saved - 2):
        return None
    return ORIGINAL_OF_BASE.get((hidden, layers), 2 * (saved - 1))


def decide_window(
    saved: int, *, choice: WindowChoice, hidden: int, layers: int
) -> tuple[int, Finding]:
    """Return the raw window to build with, and the finding that says what was seen."""
    repaired = repaired_window(saved, hidden=hidden, layers=layers)
    if repaired is None:
        return saved, Finding(
            id="window-intact",
            severity="info",
            evidence=f"config.json has sliding_window {saved}; positions up to {saved // 2} apart "
            "see each other in a sliding layer",
            effect="none now; saving this checkpoint with a transformers release before "
            f"PR #47940 writes {saved // 2 + 1} and narrows it at the next load",
            remedy="after any re-save, restore sliding_window in config.json, or run inspect again",
        )
    used = repaired if choice == "repaired" else saved
    return used, Finding(
        id="window-halved",
        severity="warning",
        evidence=f"config.json has sliding_window {saved}, the value that transformers writes "
        f"back for {repaired}",
        effect=f"every loader lets positions see only {saved // 2} to each side instead of "
        f"{repaired // 2}; texts of up to {saved // 2 + 1} tokens are not affected. This run uses "
        f"{used} ({choice})",
        remedy=f"compare with --window repaired ({repaired}); an index built with the damaged "
        "value has to be built again after a repair",
    )


def both_windows(checkpoint: Checkpoint) -> tuple[int, int] | None:
    """Return (saved, repaired), raw, or None where the window shows no damage."""
    architecture, saved = checkpoint.architecture, checkpoint.window_saved
    if architecture is None or saved is None:
        return None
    repaired = repaired_window(
        saved, hidden=architecture.hidden_size, layers=architecture.num_layers
    )
    return None if repaired is None else (saved, repaired)
