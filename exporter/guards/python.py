"""The guard that applications take along, as this tool calls it: its verdicts are made once."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from exporter.errors import BadInput
from exporter.space import Space

GUARD = "exporter.guards.static.guard"


def check(
    space: Space, embed: Callable[..., list[float]], *, role: str, long: bool
) -> dict[str, Any]:
    """Return what guard.py says of an embed function. Raises BadInput for a space of no probes."""
    guard: Any = import_module(GUARD)
    try:
        found: dict[str, Any] = guard.check(
            space.model_dump(mode="json"), embed, role=role, long=long
        )
    except ValueError as error:
        raise BadInput(str(error)) from None
    return found


def differences(one: Space, other: Space) -> list[str]:
    """Return a line for each thing that keeps two spaces apart, as guard.py does."""
    found: list[str] = import_module(GUARD).differences(
        one.model_dump(mode="json"), other.model_dump(mode="json")
    )
    return found
