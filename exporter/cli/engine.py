"""Where texts are encoded: here, or on a Ray cluster."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from exporter.errors import BadInput

if TYPE_CHECKING:
    from exporter.vectors.embed import Engine

Command = TypeVar("Command", bound=Callable[..., Any])


def engine_options(command: Command) -> Command:
    """Add --engine and what goes with it, given to the command as `engine: Engine`."""

    @functools.wraps(command)
    def chosen(**values: Any) -> Any:
        names = ("ray_address", "workers", "worker_cpus", "worker_gpus")
        given = {name: values.pop(name) for name in names}
        return command(engine=choose_engine(values.pop("engine"), **given), **values)

    wrapped: Any = chosen
    for option in reversed(
        (
            click.option(
                "--engine",
                type=click.Choice(["local", "ray"]),
                default="local",
                show_default=True,
                help="Where texts are encoded: on this machine, or on a Ray cluster.",
            ),
            click.option(
                "--ray-address",
                metavar="ADDRESS",
                help="With --engine ray: the cluster, as HOST:6379, or auto for the one of this "
                "machine. Default: $RAY_ADDRESS, else this machine alone.",
            ),
            click.option(
                "--workers",
                type=click.IntRange(min=1),
                help="With --engine ray: how many models are loaded. Default: one a machine.",
            ),
            click.option(
                "--worker-cpus",
                type=click.IntRange(min=1),
                help="With --engine ray: CPUs of each. Default: its part of a machine's.",
            ),
            click.option(
                "--worker-gpus",
                type=click.FloatRange(min=0.01),
                help="With --engine ray: GPUs of each, 0.5 where two share one. Default: none.",
            ),
        )
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


def choose_engine(
    name: str,
    *,
    ray_address: str | None,
    workers: int | None,
    worker_cpus: int | None,
    worker_gpus: float | None,
) -> "Engine":
    """Return the engine of these options. Raises BadInput for Ray's without Ray."""
    if name == "ray":
        from exporter.cluster.engine import RayEngine
        from exporter.cluster.nodes import Workers

        return RayEngine(ray_address, Workers(workers, worker_cpus, worker_gpus or 0))
    for option, value in (
        ("--ray-address", ray_address),
        ("--workers", workers),
        ("--worker-cpus", worker_cpus),
        ("--worker-gpus", worker_gpus),
    ):
        if value is not None:
            raise BadInput(f"{option} goes with --engine ray")
    from exporter.vectors.embed import encode_here

    return encode_here
