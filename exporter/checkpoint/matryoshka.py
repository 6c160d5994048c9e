"""Matryoshka dimensions, from where sentence-transformers leaves them: the model card."""

import json
import re
from pathlib import Path

from exporter.checkpoint.records import Finding

PATTERN = re.compile(r'"matryoshka_dims"\s*:\s*(\[[\s0-9,]*\])')


def read_matryoshka_dims(folder: Path, dim: int) -> tuple[tuple[int, ...], Finding]:
    """Return the trained dims, largest first, always with `dim` itself; and where they are from."""
    card = folder / "README.md"
    match = PATTERN.search(card.read_text("utf-8", errors="replace")) if card.is_file() else None
    named = json.loads(match.group(1)) if match else []
    dims = tuple(sorted({d for d in named if 0 < d <= dim} | {dim}, reverse=True))
    return dims, Finding(
        id="matryoshka-dims",
        severity="info",
        evidence=f"the model card names {', '.join(map(str, dims))}"
        if match
        else f"the model card names none; only the full {dim} is known to be trained",
        effect="each dim is judged by itself: a cut vector is another index",
        remedy="cut to a trained dim only, and normalise after the cut",
    )
