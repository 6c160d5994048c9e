"""python -m parity_tests.release.killed_release CHECKPOINT CORPUS OUTPUT POINT: a release killed
when something is given its final name for the POINTth time."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from exporter.checkpoint.read import read_checkpoint
from parity_tests.release.small_release import release

POINTS = (2, 0, 1, 3, 6, 9, 10, 12, 15, 16, 17)
"""Of the nineteen renamings in a release of `small_release`: artifacts and packages before, as and
after they get their names and are recorded, and each file of the report."""


def kill_at(point: int) -> None:
    """Let this process be killed right after that renaming."""
    done = 0

    def counted(rename: Any) -> Any:
        def renamed(*arguments: Any) -> Any:
            nonlocal done
            result = rename(*arguments)
            if done == point:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return result

        return renamed

    for name in ("rename", "replace"):
        setattr(Path, name, counted(getattr(Path, name)))


if __name__ == "__main__":
    checkpoint, corpus, output = map(Path, sys.argv[1:4])
    kill_at(int(sys.argv[4]))
    release(read_checkpoint(checkpoint), corpus, output)
