"""A release that is published again and again, and the command that does it."""

import shutil
from pathlib import Path

import pytest

from exporter.cli.main import main


def run(*arguments: object) -> int:
    """Run the command line and return its exit code."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def with_card(released: Path, checkpoint: Path, output: Path) -> Path:
    """Return a copy of a release with its card, which states a licence."""
    folder = Path(shutil.copytree(released, output))
    report = folder / "parity.json"
    assert run("card", "--report", report, "--checkpoint", checkpoint, "--quiet") == 0
    card = folder / "README.md"
    card.write_text(card.read_text("utf-8").replace("---\n", "---\nlicense: mit\n", 1), "utf-8")
    return folder


def publish(release: Path, checkpoint: Path, *more: object, to: str) -> int:
    """Run `lawvault publish` and return its exit code."""
    return run("publish", release, "--to", to, "--checkpoint", checkpoint, *more)
