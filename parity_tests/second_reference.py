"""Torch's vectors of texts, by the transformers of this environment.

python -m parity_tests.second_reference CHECKPOINT DTYPE TEXTS.json VECTORS.npy
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from exporter.checkpoint.read import read_checkpoint
from exporter.runtimes.torch_reference import TorchReference


def write_vectors(checkpoint: str, dtype: Any, texts: str, output: str) -> None:
    """Write the vectors, (n, dim) float32."""
    reference = TorchReference(read_checkpoint(Path(checkpoint)), dtype=dtype, device="cpu")
    np.save(output, reference.encode(json.loads(Path(texts).read_text("utf-8"))))


if __name__ == "__main__":
    write_vectors(*sys.argv[1:])
