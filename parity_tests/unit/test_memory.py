"""What a closed model leaves behind."""

import os
import sys
from pathlib import Path

import pytest

from exporter.checkpoint.read import read_checkpoint
from exporter.runtimes.memory import release_memory

STATUS = Path("/proc/self/status")
REAL = os.environ.get("LAWVAULT_REAL_CHECKPOINT")
LIMIT_BYTES = 2_600_000_000
"""Measured: 2.23 GB while bfloat16 is cast from the float32 in the file, whatever came before; 3.13
in a process that kept its leftovers."""

pytestmark = pytest.mark.skipif(not STATUS.is_file(), reason="needs Linux's /proc")


def in_memory(key: str) -> int:
    lines = STATUS.read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")
def test_small_blocks_held_by_cycles_go_back_to_the_system() -> None:
    release_memory()
    before = in_memory("RssAnon:")
    knot: list[object] = [bytes(1000) for _ in range(100_000)]
    knot.append(knot)
    keep = [bytes(1000) for _ in range(10)]  # the end of the heap stays in use
    assert in_memory("RssAnon:") > before + 80_000_000
    del knot
    release_memory()
    assert in_memory("RssAnon:") < before + 30_000_000
    assert len(keep) == 10


@pytest.mark.slow
@pytest.mark.skipif(REAL is None, reason="set LAWVAULT_REAL_CHECKPOINT to the real weights")
def test_the_references_of_the_real_model_come_and_go_without_adding_up() -> None:
    pytest.importorskip("sentence_transformers")
    from exporter.runtimes.torch_reference import TorchReference

    checkpoint = read_checkpoint(Path(str(REAL)))
    for _ in range(2):
        for dtype in ("bfloat16", "float32"):
            encoder = TorchReference(checkpoint, dtype=dtype, device="cpu")  # type: ignore[arg-type]
            encoder.encode(["押金"])
            encoder.close()
    assert in_memory("VmHWM:") < LIMIT_BYTES
