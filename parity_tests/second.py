"""What runs in a second environment, whose pins differ: LiteRT's converter, transformers 5."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).parent.parent
PYTHON = "LAWVAULT_SECOND_PYTHON"
"""Names a Python with the extras `litert-export`, `embeddinggemma2`, `onnx` and `openvino`."""


def run_second(module: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run a module there, with this repository's code. Skips without it, and fails in CI."""
    python = os.environ.get(PYTHON)
    if python is None:
        reason = f"{PYTHON} names no Python of the second environment (make test)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return subprocess.run(
        [python, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def reference_vectors(
    checkpoint: Path, texts: Sequence[str], folder: Path, *, dtype: str = "float32"
) -> Any:
    """Return torch's vectors of texts, (n, dim) float32, computed there. `folder`: to work in."""
    given, made = folder / "texts.json", folder / f"{dtype}.npy"
    given.write_text(json.dumps(list(texts)), "utf-8")
    ran = run_second("parity_tests.second_reference", checkpoint, dtype, given, made)
    assert ran.returncode == 0, ran.stderr
    return np.load(made)
