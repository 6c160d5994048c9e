"""Killed, or out of disk, at points drawn at random: nothing half-written, a run again is whole.

LAWVAULT_STOPS: how many stops a command gets; LAWVAULT_STOPS_SEED repeats a run, whose seed is
printed.
"""

import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("gguf")
pytest.importorskip("lancedb")

from parity_tests.conftest import REPOSITORY
from parity_tests.tiny_corpus import make_tiny_corpus

STOPS = int(os.environ.get("LAWVAULT_STOPS", "3"))
SEED = int(os.environ.get("LAWVAULT_STOPS_SEED", time.time_ns() % 1_000_000))
FULL = "the disk is full"


def files_in(folder: Path) -> Any:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def rows_in(folder: Path) -> Any:
    import lancedb

    table = lancedb.connect(folder).open_table("laws_vectors").to_arrow()
    return table.sort_by("chunk_id").to_pydict()


class Command:
    """A command that writes `output`, and what is in that. `most`: bytes of its largest file."""

    def __init__(
        self, arguments: list[object], output: Path, content: Callable[[Path], Any]
    ) -> None:
        self.output, self.content = output, content
        self.arguments = [sys.executable, "-m", "exporter", *map(str, arguments)]
        self.arguments += ["--output", str(output), "--quiet"]
        began = time.monotonic()
        self.run()
        self.seconds = time.monotonic() - began
        self.expected = content(output)
        self.most = max(p.stat().st_size for p in output.rglob("*") if p.is_file())

    def run(self, *, after: float | None = None, room: int | None = None) -> tuple[int, str]:
        """Run it, killed `after` seconds, or with files that may hold `room` bytes."""

        def limit() -> None:
            if room is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

        with subprocess.Popen(
            self.arguments,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
            preexec_fn=limit,
        ) as process:
            try:
                said = process.communicate(timeout=after)[1]
            except subprocess.TimeoutExpired:
                process.kill()
                said = process.communicate()[1]
        return process.returncode, said


@pytest.fixture(params=["gguf", "onnx", "index"])
def command(request: pytest.FixtureRequest, tiny_path: Path, tmp_path: Path) -> Command:
    exported = tmp_path / "exported"
    if request.param == "index":
        Command(["export", "onnx", "--checkpoint", tiny_path], exported, files_in)
        corpus = make_tiny_corpus(tmp_path / "corpus", documents=40, questions=2)
        return Command(["index", exported, "--corpus", corpus], tmp_path / "o" / "db", rows_in)
    return Command(
        ["export", request.param, "--checkpoint", tiny_path], tmp_path / "o" / "out", files_in
    )


@pytest.mark.slow
def test_a_stop_at_any_point_leaves_nothing_half_written(command: Command) -> None:
    print(f"seed {SEED}")
    drawn = random.Random(SEED)
    around = command.output.parent
    for at in range(STOPS):
        subprocess.run(["rm", "-r", str(around)], check=True)
        around.mkdir()
        if at % 2:
            room = int(command.most * drawn.random())
            code, said = command.run(room=room)
            where = f"seed {SEED}, room for {room} bytes"
            assert code in (0, 2), (where, said)
            assert code == 0 or FULL in said, (where, said)
        else:
            after = command.seconds * drawn.random()
            code, said = command.run(after=after)
            where = f"seed {SEED}, killed after {after:.3f} s"
            assert code in (0, -9), (where, said)
        if command.output.exists() and any(command.output.iterdir()):
            assert command.content(command.output) == command.expected, where
            if code == 0:
                continue
            subprocess.run(["rm", "-r", str(command.output)], check=True)
        code, said = command.run()
        assert code == 0, (where, said)
        assert command.content(command.output) == command.expected, where
        left = {path.name for path in around.iterdir()} - {"out", "db", "db.vectors"}
        assert not left, where
