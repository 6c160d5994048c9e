"""Matryoshka dimensions, from the one place where they are left: the model card."""

import json
import re
from pathlib import Path

from exporter.checkpoint.contents import Finding

LOSS = re.compile(r'"matryoshka_dims"\s*:\s*(\[[\s0-9,]*\])')
"""How sentence-transformers prints the loss into a card."""
PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+•]|\d+\.|#)\s)")
"""Between paragraphs, items of a list and headings."""
MENTION = re.compile(r"matryoshka|\bMRL\b", re.IGNORECASE)
SIZES = re.compile(r"\b\d+(?:\s*(?:,|/|、|and|or|和|或)+\s*(?:and|or)?\s*\d+\b)+")
"""A row of numbers: 512, 256, or 128."""
LEAST = 16
STEP = 8
"""A trained dim is a multiple of 8 from 16 up; other numbers of a card are something else."""


def read_matryoshka_dims(folder: Path, dim: int) -> tuple[tuple[int, ...], Finding]:
    """Return the trained dims, largest first, always with `dim` itself; and where they are from.

    Taken from the loss as sentence-transformers prints it, else from a sentence such as that of
    EmbeddingGemma's card, "768, with smaller options available (512, 256, or 128) via Matryoshka".
    """
    card = folder / "README.md"
    text = card.read_text("utf-8", errors="replace") if card.is_file() else ""
    named, where = _of_loss(text), "the loss in the model card"
    if not named:
        named, where = _of_prose(text, dim), "the prose of the model card"
    dims = tuple(sorted({d for d in named if 0 < d <= dim} | {dim}, reverse=True))
    return dims, Finding(
        id="matryoshka-dims",
        severity="info",
        evidence=f"{where} names {', '.join(map(str, dims))}"
        if named
        else f"the model card names none; only the full {dim} is known to be trained",
        effect="each dim is judged by itself: a cut vector is another index",
        remedy="cut to a trained dim only, and normalise after the cut",
    )


def _of_loss(card: str) -> list[int]:
    match = LOSS.search(card)
    return json.loads(match.group(1)) if match else []


def _of_prose(card: str, dim: int) -> list[int]:
    for paragraph in PARAGRAPH.split(card):
        if not MENTION.search(paragraph):
            continue
        for row in SIZES.findall(paragraph):
            dims = [int(number) for number in re.findall(r"\d+", row)]
            if all(LEAST <= d <= dim and d % STEP == 0 for d in dims):
                return dims
    return []
