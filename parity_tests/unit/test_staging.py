"""Outputs appear only when complete, and nothing of the user's is lost."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.errors import BadInput
from exporter.staging import check_free_disk, check_output, staged_folder
from parity_tests.conftest import REPOSITORY


def test_output_appears_only_when_complete(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with staged_folder(output) as stage:
        (stage / "a").write_text("x")
        assert not output.exists()
    assert (output / "a").read_text() == "x"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("stop")])
def test_an_interrupted_step_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), staged_folder(tmp_path / "out") as stage:
        (stage / "a").write_text("x")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="disk is full"), staged_folder(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_needs_force(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(BadInput, match="--force"):
        check_output(tmp_path, force=False)


def test_force_keeps_the_files_of_the_user(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("keep")
    (output / "a").write_text("old")
    with staged_folder(output, force=True) as stage:
        (stage / "a").write_text("new")
    assert (output / "mine.txt").read_text() == "keep"
    assert (output / "a").read_text() == "new"


def test_a_failed_forced_run_keeps_the_old_output(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "a").write_text("old")
    with pytest.raises(RuntimeError), staged_folder(output, force=True) as stage:
        (stage / "a").write_text("new")
        raise RuntimeError
    assert (output / "a").read_text() == "old"


def test_too_little_disk_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="MB free"):
        check_free_disk(tmp_path / "x" / "y", 1 << 62)


def test_a_second_run_is_refused_while_the_first_writes(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with staged_folder(output) as stage:
        (stage / "a").write_text("first")
        said = "is being written by another run; wait for it"
        with pytest.raises(BadInput, match=said), staged_folder(output):
            pytest.fail("two runs")
        assert (stage / "a").is_file()
    assert (output / "a").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from exporter import staging
output = Path(sys.argv[1])
if sys.argv[2] == "replacing":  # the old output is away, the new one not yet there
    staging._bring_back_foreign_files = None
    rename = Path.rename
    def once(self, target):
        if self.name.endswith(".partial"):
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)
    Path.rename = once
with staging.staged_folder(output, force=True) as stage:
    (stage / "half").write_text("x")
    (stage / "folder").mkdir()
    if sys.argv[2] == "writing":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("when", ["writing", "replacing"])
def test_what_a_killed_run_left_is_removed_and_what_it_took_comes_back(
    tmp_path: Path, when: str
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("keep")
    ran = subprocess.run([sys.executable, "-c", KILLED, str(output), when], cwd=REPOSITORY)
    assert ran.returncode == -signal.SIGKILL
    assert output.exists() is (when == "writing")
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(BadInput, match="is not empty"), staged_folder(output):
        pytest.fail("its files would be lost")
    assert (output / "mine.txt").read_text() == "keep"
    with staged_folder(output, force=True) as stage:
        assert list(stage.iterdir()) == []
        (stage / "a").write_text("x")
    assert sorted(p.name for p in output.iterdir()) == ["a", "mine.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
