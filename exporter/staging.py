"""Outputs appear under their final name only when complete."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from exporter.errors import BadInput
from exporter.parsing import parse_json

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a full quota, a file larger than the file system or a limit lets it be."""


def check_output(output: Path, *, force: bool) -> None:
    """Refuse an output folder that cannot be used, before any long step.

    Raises BadInput where `output` is a file, is not empty without `force`, or lies where
    nothing can be written.
    """
    if output.is_symlink() and not output.exists():
        raise BadInput(f"output '{output}' is a dangling symbolic link; remove it or name another")
    if output.exists() and not output.is_dir():
        raise BadInput(f"output '{output}' is a file; name a folder")
    if output.is_dir() and any(output.iterdir()) and not force:
        raise BadInput(f"output folder '{output}' is not empty; name another or pass --force")
    parent = output.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise BadInput(f"cannot write into '{parent}'; name an output folder elsewhere")


def copy_present(names: Iterable[str], source: Path, target: Path) -> None:
    """Copy those of `names` that are files of the folder `source` to the folder `target`."""
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def check_free_disk(output: Path, needed_bytes: int) -> None:
    """Raise BadInput where the disk below `output` holds less than `needed_bytes` free."""
    parent = output.absolute()
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if free < needed_bytes:
        raise BadInput(
            f"'{parent}' has {free / 1e6:,.0f} MB free and this step writes about "
            f"{needed_bytes / 1e6:,.0f} MB; free some space or pass another --output"
        )


@contextmanager
def staged_folder(output: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `output`; on success it becomes `output`, else it vanishes.

    With `force` an existing output is replaced only then; files in it that an earlier run of this
    tool did not write stay. What a killed run left is removed, or put back where it was. Raises
    BadInput as `check_output` does, for a full disk, and where another run writes `output`.
    """
    check_output(output, force=force)
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    stage = output.with_name(f".{output.name}.partial")
    lock = _lock_stage(stage, output)
    try:
        _recover(output)
        check_output(output, force=force)
        for left in stage.iterdir():  # by a run that was killed
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        yield stage
        _install(stage, output)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise BadInput(
                f"the disk is full while writing '{output}'; nothing was left behind, "
                "free some space and run again"
            ) from error
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        os.close(lock)


def _lock_stage(stage: Path, output: Path) -> int:
    """Make the folder that holds what is not complete yet, and return the descriptor that locks it:
    the lock goes with the process, so that a killed run's folder is free."""
    while True:
        stage.mkdir(exist_ok=True)
        try:
            lock = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # its run has just ended
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stage.stat().st_ino == os.fstat(lock).st_ino:
                return lock
        except BlockingIOError:
            os.close(lock)
            raise BadInput(
                f"output '{output}' is being written by another run; wait for it, or name another "
                "folder"
            ) from None
        except FileNotFoundError:
            pass
        os.close(lock)


def _retired(output: Path) -> Path:
    return output.with_name(f".{output.name}.old")


def _recover(output: Path) -> None:
    """Bring back what a run held when it was killed in the act of replacing `output`."""
    old = _retired(output)
    if old.is_dir() and not output.exists():
        old.rename(output)
    elif old.is_dir():
        _bring_back_foreign_files(old, output)
        shutil.rmtree(old, ignore_errors=True)


def _install(stage: Path, output: Path) -> None:
    if not output.exists():
        stage.rename(output)
        return
    old = _retired(output)
    output.rename(old)
    try:
        stage.rename(output)
    except OSError:
        old.rename(output)
        raise
    _bring_back_foreign_files(old, output)
    shutil.rmtree(old, ignore_errors=True)


def _bring_back_foreign_files(old: Path, output: Path) -> None:
    """Move what an earlier run of this tool did not write from `old` into `output`."""
    ours = {"manifest.json"}
    try:
        listed = parse_json((old / "manifest.json").read_bytes(), "", remedy="")["files"]
        ours |= {str(entry["path"]) for entry in listed}
    except (OSError, BadInput, KeyError, TypeError):
        ours = set()
    for path in sorted(p for p in old.rglob("*") if not p.is_dir() or p.is_symlink()):
        relative = path.relative_to(old)
        target = output / relative
        if relative.as_posix() in ours or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)


def lock_file(path: Path, *, what: str, remedy: str) -> FileLock:
    """Hold the lock at `path` until it is released, or this process ends.

    Raises BadInput where another run has it.
    """
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BadInput(f"{what} is being written by another run; {remedy}") from None
    return lock
