"""Names and texts that come from others: shown as they are, and never obeyed."""

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli.terminal import visible
from parity_tests.conftest import REPOSITORY

PROGRAM = (sys.executable, "-m", "exporter")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def lawvault(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT
    )


@pytest.mark.parametrize("name", ["x\x1b[31mred", "a\rb", "a\u202eb", ".hidden", "a\\b"])
def test_a_model_whose_files_could_not_be_named_is_refused(
    tiny_path: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(tiny_path, tmp_path / name)
    ran = lawvault("inspect", "--checkpoint", name, cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr == (
        f"error: a model cannot be called {name!a}: its files are named after it; rename the "
        "folder\n"
    )


@pytest.mark.parametrize("name", ["a[/]b", "[bold]x", "[red]", "法律 库", "x\x1b[31mred/m"])
def test_a_folders_name_is_neither_markup_nor_a_command(
    tiny_path: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    shutil.copytree(tiny_path, folder)
    ran = lawvault("inspect", "--checkpoint", name, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"{folder.name}  ")
    assert ran.stdout.splitlines()[0].endswith(visible(name))
    ran = lawvault("inspect", "--checkpoint", f"{name}/no", cwd=tmp_path)
    assert ran.stderr.startswith(f"error: no such checkpoint folder: '{visible(name)}/no'")
    ran = lawvault(
        "export",
        "gguf",
        "--type",
        "f32",
        "--checkpoint",
        name,
        "--output",
        name + "o",
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    assert visible(name) + "o/" in ran.stdout
    assert not any(mark in ran.stdout + ran.stderr for mark in ("\x1b", "\r", "\u202e"))


def test_a_terminal_gets_styles_and_no_commands_of_others(tiny_path: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_path, tmp_path / "x\x1b]0;title\x07" / "m")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "inspect", "--checkpoint", "x\x1b]0;title\x07/m"],
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env={**ENVIRONMENT, "TERM": "xterm"},
    ):
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert b"\x1b[1m" in shown  # the name is bold
    assert b"\x1b]0;" not in shown
    assert rb"\x1b]0;title\x07/m" in b"".join(shown.split())


def test_whoever_stops_reading_is_no_closed_gate(tiny_path: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "inspect", "--checkpoint", str(tiny_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


def test_a_working_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    ran = subprocess.run(
        ["/bin/sh", "-c", 'rmdir "$0"; exec "$@"', str(gone), *PROGRAM, "--version"],
        capture_output=True,
        text=True,
        cwd=gone,
        env=ENVIRONMENT,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "error: the working folder was deleted; change to one that exists\n"


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ("query={x} {text},document={text}", "query: {x} is neither {text} nor {title}"),
        ("query={text},document={title {text}", "document: a field is not closed"),
        ("query={text,document={text}", "query: a field is not closed"),
    ],
)
def test_a_template_with_a_field_that_is_none_is_refused(
    tiny_path: Path, tmp_path: Path, prompts: str, said: str
) -> None:
    ran = lawvault("inspect", "--checkpoint", str(tiny_path), "--prompts", prompts, cwd=tmp_path)
    assert ran.returncode == 2
    assert said in ran.stderr
