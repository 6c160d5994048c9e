"""Vectors of a peer's file, kept by what decides them, and what padding does to them."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_files import NOISE, TRUTH
from benchmarks.peer_made import Job, folder_of, made_record
from benchmarks.peer_runs import Run
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.tokenizer import load_tokenizer
from exporter.manifest import library_versions
from exporter.parity.compare import row_cosines
from exporter.progress import Progress, silent
from exporter.runtimes.batching import padded, token_rows
from exporter.runtimes.encoder import PaddedEncoder, Source, Vectors, unit_rows
from exporter.runtimes.identity import processor
from exporter.runtimes.original import reference_source
from exporter.vectors.embed import embed_each
from exporter.vectors.rows import Rows

GROUPS = ("documents", "questions", "long")
BATCH_TEXTS, BATCH_TOKENS = 32, 8192
"""Texts of similar length go together, padded to the longest, as applications send them."""
LIBRARIES = (
    "llama-cpp-python",
    "onnxruntime",
    "openvino",
    "sentence-transformers",
    "tokenizers",
    "torch",
)


class PeerEncoder:
    """A file run in padded batches. See `exporter.runtimes.encoder.PaddedEncoder`."""

    def __init__(self, name: str, run: Run, checkpoint: Checkpoint) -> None:
        self.name, self.dim, self._run = name, checkpoint.dim, run
        self._tokenizer = load_tokenizer(
            checkpoint.path / "tokenizer.json", max_tokens=checkpoint.max_tokens
        )

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        return token_rows(self._tokenizer, texts, prompt=prompt)

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:
        rows = self.token_ids(texts, prompt=prompt)
        vectors = np.empty((len(texts), self.dim), np.float32)
        for picked in padded_batches([len(row) for row in rows]):
            some = [rows[i] for i in picked]
            vectors[picked] = self._run(*padded(some, width=max(map(len, some))))
            if on_progress is not None:
                on_progress(len(picked))
        return unit_rows(vectors, texts, dim=dim, source=self.name)

    def encode_padded(
        self, rows: Sequence[Sequence[int]], *, width: int, left: bool = False
    ) -> Vectors:
        vectors = self._run(*padded(rows, width=width, left=left))
        return unit_rows(vectors, ["padded"] * len(rows), dim=None, source=self.name)

    def close(self) -> None:
        del self._run


def padded_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Return indices, shortest first, in batches of at most 32 texts and 8,192 padded tokens."""
    made: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        full = made and (
            len(made[-1]) == BATCH_TEXTS or (len(made[-1]) + 1) * lengths[i] > BATCH_TOKENS
        )
        if full or not made:
            made.append([])
        made[-1].append(i)
    return made


def source_of(name: str, job: Job, checkpoint: Checkpoint) -> Source:
    """Return a peer, or torch itself, as a source of vectors that is not loaded yet."""
    if name in (TRUTH, NOISE):
        return reference_source(checkpoint, "float32" if name == TRUTH else "bfloat16")
    folder = folder_of(name, job, checkpoint)
    identity = {
        "kind": "peer",
        "peer": name,
        "files": made_record(folder)["files"],
        "tokenizer": {p: sha for p, _, sha in checkpoint.file_hashes() if p == "tokenizer.json"},
        "max_tokens": checkpoint.max_tokens,
        "batch": [BATCH_TEXTS, BATCH_TOKENS],
        "processor": processor(),
        "libraries": library_versions(LIBRARIES),
    }

    def load(*, threads: int | None = None) -> PeerEncoder:
        del threads  # as its user runs it
        return PeerEncoder(name, job.peer(name).load(folder), checkpoint)

    return Source(name=name, dim=checkpoint.dim, identity=identity, open=load)


def encode_texts(
    name: str,
    job: Job,
    checkpoint: Checkpoint,
    texts: Mapping[str, Sequence[str]],
    *,
    start: Callable[[str, int], Progress] = silent,
) -> dict[str, Any]:
    """Encode what is not kept yet: each group of texts, `padded` as `padding_effect` does.
    Returns the padding's effect: {"median", "worst", "texts", "width"}."""
    source = source_of(name, job, checkpoint)
    for group in GROUPS:
        if texts[group]:
            vectors_of(source, texts[group], job, start=start)
    key = json.dumps([dict(source.identity), list(texts["padded"])], sort_keys=True)
    file = job.work / "padding" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not file.is_file():
        found = padding_effect(source, texts["padded"], widest=checkpoint.max_tokens)
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = Path(f"{file}.partial")
        whole.write_text(json.dumps(found), "utf-8")
        whole.rename(file)
    effect: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return effect


def vectors_of(
    source: Source,
    texts: Sequence[str],
    job: Job,
    *,
    start: Callable[[str, int], Progress] = silent,
) -> Rows:
    """Return the vectors of texts, encoded where they are not kept."""
    return embed_each(source, texts, cache=job.work / "vectors", start=start)


def padding_effect(source: Source, texts: Sequence[str], *, widest: int) -> dict[str, Any]:
    """Return by how much a text's vector moves, 1 - cosine, between alone and in padded batches of
    as many as fit 8,192 tokens: padded to the longest text, to 512 and to `widest`. Of each text
    the largest move counts."""
    with closing(source.open()) as encoder:
        assert isinstance(encoder, PaddedEncoder)
        rows = encoder.token_ids(texts)
        alone = np.concatenate([encoder.encode_padded([row], width=len(row)) for row in rows])
        longest = max(map(len, rows))
        moved = np.zeros(len(rows))
        for width in sorted({longest, max(longest, min(512, widest)), widest}):
            count = max(2, BATCH_TOKENS // width)
            # Short and long together: every third text, and so on round.
            order = sorted(range(len(rows)), key=lambda i: (i % 3, i))
            for at in range(0, len(order), count):
                picked = order[at : at + count]
                found = encoder.encode_padded([rows[i] for i in picked], width=width)
                moved[picked] = np.maximum(moved[picked], 1 - row_cosines(found, alone[picked]))
    return {
        "median": float(np.median(moved)),
        "worst": float(moved.max()),
        "texts": len(texts),
        "width": widest,
    }
