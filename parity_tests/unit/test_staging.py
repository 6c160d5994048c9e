"""Outputs appear only when complete, and nothing of the user's is lost."""

import errno
from pathlib import Path

import pytest

from exporter.errors import BadInput
from exporter.staging import check_free_disk, check_output, staged_folder


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
