"""What runs on the machines of a cluster: a model, verified before it is asked."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter import __version__
from exporter.cluster.files import Pieces, get_files
from exporter.errors import BadInput, LawvaultError
from exporter.runtimes.encoder import Encoder, Portable, Vectors

ANSWER = ("place", "vectors", "error")
"""The columns of what a worker gives."""


@dataclass(frozen=True)
class Job:
    """What each worker is given. `identity`: of the source on the caller's machine; `probes`: texts
    with the (n, dim) vectors that it gave them there; `threads`: of the runtime."""

    name: str
    version: str
    identity: Mapping[str, Any]
    portable: Portable
    probes: tuple[str, ...]
    vectors: Vectors
    threads: int


class Worker:
    """Encodes one list of texts a call. Ray Data starts it, and starts it again where it died.

    An error is an answer, since an exception would be retried: {"error": what is wrong}.
    """

    def __init__(self, job: Job, pieces: Pieces) -> None:
        self._encoder: Encoder | None = None
        self._error = ""
        try:
            self._encoder = open_verified(job, pieces)
        except LawvaultError as error:
            self._error = f"{node_name()}: {error}"

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the vectors of a batch of one row, {"place": (1,), "texts": (1,) of JSON}, as
        {"place", "vectors": (1, texts, dim) float32, "error": (1,)}."""
        vectors: Vectors = np.zeros((0, 0), np.float32)
        error = self._error
        if self._encoder is not None:
            try:
                vectors = self._encoder.encode(json.loads(batch["texts"][0]))
            except LawvaultError as raised:
                error = str(raised)
        return dict(zip(ANSWER, (batch["place"], vectors[None], np.array([error])), strict=True))


def open_verified(job: Job, pieces: Pieces) -> Encoder:
    """Return the encoder of a job on this machine, which gives the bits of the caller's.

    Raises BadInput for another version of anything that decides a vector, for files that differ,
    and for vectors that do.
    """
    import ray

    if job.version != __version__:
        raise BadInput(
            f"lawvault-exporter {__version__} is installed there, {job.version} here; install one "
            "version on all machines"
        )
    source = job.portable.open_at(get_files(ray, job.portable, pieces))
    apart = _differences(job.identity, source.identity)
    if apart:
        raise BadInput(
            f"{apart[0]}; its vectors would differ in their last digits: use machines of one kind "
            "with one version of everything"
        )
    encoder = source.open(threads=job.threads)
    found = encoder.encode(list(job.probes))
    if found.tobytes() != job.vectors.tobytes():
        worst = float((1 - (found * job.vectors).sum(axis=1)).max())
        raise BadInput(
            f"{job.name} gives other vectors there than here (1 - cosine up to {worst:.1e}) though "
            "all versions are the same; run it with the same --worker-cpus on one kind of machine"
        )
    return encoder


def node_name() -> str:
    """Return what this machine calls itself, with the process that asks."""
    return f"worker on {platform.node() or 'an unnamed machine'} (process {os.getpid()})"


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return what of two identities differs, in words."""
    found = []
    for name in sorted({*here, *there}):
        ours, theirs = here.get(name), there.get(name)
        if ours == theirs:
            continue
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            found += [
                f"{key} {theirs.get(key, 'is missing')} there, {ours.get(key, 'is missing')} here"
                for key in sorted({*ours, *theirs})
                if ours.get(key) != theirs.get(key)
            ]
        else:
            found.append(f"its {name} is {theirs}, here {ours}")
    return found
