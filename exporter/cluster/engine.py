"""Texts encoded on many machines at once, by Ray Data."""

import json
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from exporter import __version__
from exporter.cluster.files import put_files
from exporter.cluster.nodes import Workers, connected, quiet_data, sized
from exporter.cluster.worker import ANSWER, Job, Worker
from exporter.errors import BadInput, reason_of
from exporter.progress import Progress
from exporter.runtimes.encoder import Source, Vectors
from exporter.vectors.known_texts import DOCUMENTS, QUERIES

WINDOW_SHARDS = 2048
"""Given to Ray at once: a million texts, which lie in its object store until they are encoded."""
MOST_RESTARTS = 100
"""Of one worker: machines that are lent come and go."""
MOST_TRIES = 3
"""Of one shard: what takes three workers with it, as texts too long for the memory there, would
take the fourth."""
PROBES = (*QUERIES, *(text for _, text in DOCUMENTS))


@dataclass(frozen=True)
class RayEngine:
    """Encodes lists of texts on the workers of a cluster; see `exporter.vectors.embed.Engine`.

    `address`: where the cluster is, None as `connected` says. Each worker holds the model, checked
    by its hashes, its libraries' versions and the bits of a few vectors. Workers that die are
    started again by Ray, and what they had in hand is encoded again.
    """

    address: str | None = None
    workers: Workers = field(default_factory=Workers)

    def __call__(
        self, source: Source, shards: Sequence[Sequence[str]], *, begin: Callable[[], Progress]
    ) -> Generator[tuple[int, Vectors], None, None]:
        """Yield (place in `shards`, (texts, dim) float32 unit rows) as they come.

        Raises BadInput where a worker is not like this machine, or the cluster has no room.
        """
        if not shards:
            return
        if source.portable is None:
            raise BadInput(
                f"{source.name} lies in several folders and cannot travel; leave --engine out"
            )
        with connected(self.address) as (ray, alone):
            quiet_data(ray)
            workers = sized(ray, self.workers)
            assert workers.cpus is not None
            job = _job(source, threads=workers.cpus)
            pieces = {} if alone else put_files(ray, source.portable)
            progress = begin()
            for start in range(0, len(shards), WINDOW_SHARDS):
                window = shards[start : start + WINDOW_SHARDS]
                for place, vectors in _run(ray, job, pieces, workers, window):
                    progress(len(window[place]))
                    yield start + place, vectors


def _job(source: Source, *, threads: int) -> Job:
    """Return what the workers are given: the model as it is here, and what it gives here."""
    assert source.portable is not None
    with closing(source.open()) as encoder:
        vectors = encoder.encode(list(PROBES))
    return Job(
        name=source.name,
        version=__version__,
        identity=source.identity,
        portable=source.portable,
        probes=PROBES,
        vectors=vectors,
        threads=threads,
    )


def _run(
    ray: Any, job: Job, pieces: Any, workers: Workers, window: Sequence[Sequence[str]]
) -> Generator[tuple[int, Vectors], None, None]:
    """Yield (place in `window`, vectors) of one data set."""
    # The longest texts, which come last, first: workers then end together.
    rows = [
        {"place": place, "texts": json.dumps(list(window[place])).encode()}
        for place in reversed(range(len(window)))
    ]
    with warnings.catch_warnings():
        # From 2.64 on Ray Data takes no limits of restarts, and offers nothing in their place.
        warnings.simplefilter("ignore", DeprecationWarning)
        encoded = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Worker,
            fn_constructor_args=(job, pieces),
            batch_size=1,
            batch_format="numpy",
            concurrency=min(workers.count or 1, len(rows)),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
            max_restarts=MOST_RESTARTS,
            max_task_retries=MOST_TRIES - 1,
        )
    try:
        # Nothing fetched ahead: what is done is kept before the next is waited for.
        for block in encoded.iter_batches(batch_size=None, prefetch_batches=0):
            for place, vectors, error in zip(*(block[key] for key in ANSWER), strict=True):
                if error:
                    raise BadInput(str(error))
                yield int(place), vectors
    except ray.exceptions.RayError as error:
        raise BadInput(_said(error)) from None


def _said(error: Exception) -> str:
    """Return one line for what Ray could not do."""
    said = str(error)
    if "ModuleNotFoundError" in said or "ImportError" in said:
        return (
            f"a worker cannot import lawvault; install lawvault-exporter {__version__} with the "
            "same extras on every machine of the cluster"
        )
    return f"Ray gave up: {reason_of(error)}; what is encoded is kept, run it again"
