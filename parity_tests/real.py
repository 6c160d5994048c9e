"""Real models, for tests that only mean something on them."""

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


MINILM_VARIABLE = "LAWVAULT_MINILM_CHECKPOINT"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights that the figures of these tests are of."""


def minilm_checkpoint() -> Checkpoint:
    """Return sentence-transformers/all-MiniLM-L6-v2 from the folder that the environment names, or
    skip the test."""
    folder = os.environ.get(MINILM_VARIABLE)
    if not folder:
        pytest.skip(
            f"needs sentence-transformers/all-MiniLM-L6-v2; set {MINILM_VARIABLE} to its folder"
        )
    checkpoint = read_checkpoint(Path(folder))
    found = {path: digest for path, _, digest in checkpoint.file_hashes()}
    assert found["model.safetensors"] == MINILM_SHA256
    return checkpoint
