"""The real google/embeddinggemma-300m, for tests that only mean something on it."""

import os
from pathlib import Path

import pytest

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.checkpoint.read import read_checkpoint

VARIABLE = "LAWVAULT_REAL_CHECKPOINT"
PROMPTS = Prompts(
    query="task: search result | query: {text}", document="title: {title} | text: {text}"
)


def real_checkpoint() -> Checkpoint:
    """Return the checkpoint that the environment names, or skip the test."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"needs google/embeddinggemma-300m; set {VARIABLE} to its folder")
    return read_checkpoint(Path(folder), prompts=PROMPTS)
