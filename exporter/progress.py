"""How a long step says how far it is. What becomes of it is the caller's business."""

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Called with the number of items done since the last call."""

    def __call__(self, done: int, /) -> None: ...


class Stages(Protocol):
    """Called when a step begins, with what it does and how many items it has."""

    def __call__(self, label: str, total: int, /) -> Progress: ...


def silent(label: str, total: int, /) -> Progress:
    """Say nothing."""
    del label, total
    return _nothing


def unheard(line: str, /) -> None:
    """Say nothing of what would be told."""
    del line


def by_layer(progress: Progress) -> Callable[[int], None]:
    """Return what counts one item whenever it is called with a layer's number."""
    return lambda layer: progress(1)


def next_stage(stages: Stages, label: str, count: int) -> Callable[[int], None]:
    """Return what counts layers in a stage that begins with the first of them: one of several
    stages of a step."""
    begun: list[Progress] = []

    def count_one(layer: int) -> None:
        del layer
        if not begun:
            begun.append(stages(label, count))
        begun[0](1)

    return count_one


def _nothing(done: int, /) -> None:
    del done
