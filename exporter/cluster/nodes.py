"""A Ray cluster, one that runs already or one of this machine alone."""

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.errors import BadInput, reason_of, require
from exporter.quiet import stderr_dropped

ADDRESS_VARIABLE = "RAY_ADDRESS"
QUIET = {
    # Nothing is sent to Ray's makers; what its processes log stays in their files.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_LOG_TO_DRIVER_EVENT_LEVEL": "FATAL",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # Ray's next default: a worker without a GPU sees those of its machine or not, as it is set.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

PATIENCE_S = 10
HOW_TO_START = (
    "start one with 'ray start --head', set RAY_AUTH_MODE=token where it asks for its token, or "
    "leave --ray-address out for this machine alone"
)


@dataclass(frozen=True)
class Workers:
    """What the workers of a run are: how many, and what each holds.

    `count`, `cpus`: None for one a machine, and for its equal part of a machine's CPUs. `gpus`: of
    each, 0.5 where two share one.
    """

    count: int | None = None
    cpus: int | None = None
    gpus: float = 0


@contextmanager
def connected(address: str | None) -> Iterator[tuple[Any, bool]]:
    """Hold a connection to the cluster at `address`, $RAY_ADDRESS where it is None; without
    either, to one of this machine's CPUs that ends with the block. Yields the module `ray`, and
    whether this machine is all of the cluster.

    A connection that exists is used and kept. Raises MissingDependency without Ray, BadInput where
    nobody answers.
    """
    require("ray")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        # A thread of Ray's prints every death of a worker there, where results belong.
        if ray.is_initialized():
            yield ray, False
            return
        address = address or os.environ.get(ADDRESS_VARIABLE) or "local"
        _start(ray, address)
        try:
            yield ray, address == "local"
        finally:
            ray.shutdown()


def _start(ray: Any, address: str) -> None:
    _check_address(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        options["include_dashboard"] = False
    try:
        with stderr_dropped(), warnings.catch_warnings():
            # Ray starts its processes by fork and exec: lancedb's runtime does not live on there.
            warnings.filterwarnings("ignore", message="lancedb fork support")
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        raise BadInput(
            f"no Ray cluster answers at '{address}' ({reason_of(error)}); {HOW_TO_START}"
        ) from None


def _check_address(address: str) -> None:
    """Raise BadInput where Ray would wait minutes for nobody, and for a client's address."""
    if address.startswith("ray://"):
        raise BadInput(
            f"--ray-address '{address}' is Ray Client's; run this on a machine of the cluster, as "
            "with 'ray job submit', and pass HOST:6379 or auto"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"no Ray cluster answers at '{address}' ({reason_of(error)}); {HOW_TO_START}"
        ) from None


def quiet_data(ray: Any) -> None:
    """Keep Ray Data's bars and notices off the terminal."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def sized(ray: Any, workers: Workers) -> Workers:
    """Return the workers with every figure set. Raises BadInput where no machine has room for one,
    or all together not for as many."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    able = [m for m in machines if m.get("CPU", 0) >= 1]
    if not able:
        raise BadInput("the Ray cluster has no CPU to run on; add a node: 'ray start --address'")
    least = int(min(m["CPU"] for m in able))
    count, cpus = workers.count, workers.cpus
    if count is None:
        rooms = _rooms(able, Workers(None, cpus or 1, workers.gpus))
        count = len(able) if cpus is None else max(1, rooms)
    if cpus is None:
        cpus = max(1, least // -(-count // len(able)))
    asked = Workers(count, cpus, workers.gpus)
    rooms = _rooms(able, asked)
    if rooms < count:
        most = ", ".join(sorted({_described(m) for m in able}))
        gpus = f" and --worker-gpus {workers.gpus:g}" if workers.gpus else ""
        raise BadInput(
            f"the Ray cluster has room for {rooms} workers with --worker-cpus {cpus}{gpus}, not "
            f"for {count} (machines: {len(able)}, of {most}); pass fewer --workers or --worker-cpus"
        )
    return asked


def _rooms(machines: list[dict[str, float]], workers: Workers) -> int:
    """Return how many workers of this size the machines have room for."""
    assert workers.cpus is not None
    rooms = 0
    for machine in machines:
        fits = int(machine["CPU"] // workers.cpus)
        if workers.gpus:
            fits = min(fits, int(machine.get("GPU", 0) / workers.gpus + 1e-9))
        rooms += fits
    return rooms


def _described(machine: dict[str, float]) -> str:
    gpus = int(machine.get("GPU", 0))
    return f"{int(machine['CPU'])} CPUs" + (f" and {gpus} GPUs" if gpus else "")
