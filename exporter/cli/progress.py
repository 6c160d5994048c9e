"""Progress on stderr for anything that takes longer than a second."""

import sys
import time
from types import TracebackType
from typing import Any

from exporter.cli.common import CommonOptions
from exporter.cli.console import open_console
from exporter.cli.terminal import echo
from exporter.progress import Progress

SECONDS_BETWEEN_LINES = 15.0
WORTH_A_LINE = 1.0


class ProgressLines:
    """Progress on stderr: bars on a terminal, a line now and then elsewhere, none when quiet."""

    def __init__(self, options: CommonOptions) -> None:
        self._quiet = options.quiet
        self._bars: Any = None
        self._task: Any = None
        self._step, self._total, self._done = "", 0, 0
        self._started = self._said = 0.0

    def __enter__(self) -> "ProgressLines":
        if not self._quiet and sys.stderr.isatty():
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=open_console(stderr=True),
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def start(self, step: str, total: int) -> None:
        """Begin a step of `total` items."""
        self._step, self._total, self._done = step, total, 0
        self._started = self._said = time.monotonic()
        if self._bars is not None:
            self._task = self._bars.add_task(step, total=total)

    def advance(self, done: int) -> None:
        """Count `done` more items."""
        self._done += done
        now = time.monotonic()
        if self._bars is not None:
            self._bars.advance(self._task, done)
        elif not self._quiet and (
            (self._done >= self._total and now - self._started > WORTH_A_LINE)
            or now - self._said > SECONDS_BETWEEN_LINES
        ):
            self._said = now
            echo(
                f"{self._step}: {self._done:,} of {self._total:,} ({now - self._started:.0f} s)",
                err=True,
            )

    def stage(self, step: str, total: int) -> Progress:
        """Begin a step and return what to call as its items get finished."""
        self.start(step, total)
        return self.advance
