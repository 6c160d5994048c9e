"""Vectors kept on disk by the content they were made from, so that no text is embedded twice.

One encoder has two files: `<key>.f32`, the rows, and `<key>.keys`, for each row the SHA-256 of its
text and a checksum. A row counts only when its key is complete: what a killed run leaves half
written is cut off, what is damaged is embedded again.
"""

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from exporter.staging import lock_file
from exporter.vectors.rows import Places, Vectors

FORMAT = 1
TEXT_KEY = np.dtype("S32")
RECORD = np.dtype([("text", TEXT_KEY), ("checksum", "<u4")])
CHECKED_ROWS = 8192

Keys = npt.NDArray[np.bytes_]


def text_keys(texts: Sequence[str]) -> Keys:
    """Return the key of each text, as rendered with its prompt and title. Returns (n,) S32."""
    return np.array([hashlib.sha256(text.encode()).digest() for text in texts], TEXT_KEY)


class VectorCache:
    """The rows of one encoder, (stored, dim) float32 of length 1, in `folder`.

    `identity` is everything besides the text that decides a vector: checkpoint or artifact by
    hash, window, dtype, device, library versions. Another identity is another pair of files.
    Raises BadInput where another process is writing to it.
    """

    def __init__(self, folder: Path, *, identity: Mapping[str, Any], dim: int) -> None:
        described = {"format": FORMAT, "dim": dim, **identity}
        canonical = json.dumps(described, sort_keys=True, ensure_ascii=False)
        name = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        self.dim = dim
        self._rows_path, self._keys_path = folder / f"{name}.f32", folder / f"{name}.keys"
        # For people who wonder what a file is; nothing reads it.
        (folder / f"{name}.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")
        self._lock = lock_file(
            folder / f"{name}.lock",
            what=f"'{self._keys_path}'",
            remedy="wait for it, or pass another --cache",
        )
        self._keys_file: IO[bytes] = self._keys_path.open("a+b")
        self._rows_file: IO[bytes] = self._rows_path.open("a+b")
        self._records = self._read_records()
        self._new: list[npt.NDArray[Any]] = []
        self._count = len(self._records)
        self._sorted: Keys | None = None

    def _read_records(self) -> npt.NDArray[Any]:
        width = 4 * self.dim
        count = min(
            self._keys_path.stat().st_size // RECORD.itemsize,
            self._rows_path.stat().st_size // width,
        )
        self._keys_file.truncate(count * RECORD.itemsize)
        self._rows_file.truncate(count * width)
        records = np.fromfile(self._keys_path, RECORD, count=count)
        sound = np.zeros(count, bool)
        for start in range(0, count, CHECKED_ROWS):
            rows = self.vectors(count)[start : start + CHECKED_ROWS]
            sums = [zlib.crc32(row.tobytes()) for row in rows]
            sound[start : start + len(sums)] = (
                records["checksum"][start : start + len(sums)] == sums
            )
        # A damaged row stays where it is and is never found: its text gets another row.
        records["text"][~sound] = b""
        return records

    def _index(self) -> Keys:
        # Sorted only when asked: a long run appends thousands of times in between.
        if self._sorted is None or self._new:
            self._records = np.concatenate([self._records, *self._new])
            self._new = []
            self._order = np.argsort(self._records["text"], kind="stable")
            self._sorted = self._records["text"][self._order]
        return self._sorted

    def __len__(self) -> int:
        return self._count

    def places(self, keys: Keys) -> Places:
        """Return the row of each text, -1 where it has none. keys: (n,) S32. Returns (n,)."""
        known = self._index()
        if not len(known):
            return np.full(len(keys), -1, np.int64)
        at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where(known[at] == keys, self._order[at], -1).astype(np.int64)

    def append(self, keys: Keys, vectors: Vectors) -> None:
        """Add rows. keys: (n,), vectors: (n, dim) float32. On disk when this returns."""
        if vectors.shape != (len(keys), self.dim):
            raise ValueError(f"{vectors.shape} is not ({len(keys)}, {self.dim})")
        rows = np.ascontiguousarray(vectors, "<f4")
        records = np.empty(len(keys), RECORD)
        records["text"] = keys
        records["checksum"] = [zlib.crc32(row.tobytes()) for row in rows]
        for handle, data in ((self._rows_file, rows), (self._keys_file, records)):
            handle.write(data.tobytes())
            handle.flush()
            os.fsync(handle.fileno())
        self._new.append(records)
        self._count += len(records)

    def vectors(self, count: int | None = None) -> Vectors:
        """Return all rows, mapped from the file. Returns (stored, dim) float32, read-only."""
        stored = len(self) if count is None else count
        if not stored:
            return np.empty((0, self.dim), np.float32)
        return np.memmap(self._rows_path, "<f4", mode="r", shape=(stored, self.dim))

    def close(self) -> None:
        """Release the files. Rows already mapped stay usable."""
        self._keys_file.close()
        self._rows_file.close()
        self._lock.release()


@contextlib.contextmanager
def opened(folder: Path, *, identity: Mapping[str, Any], dim: int) -> Iterator[VectorCache]:
    """Open a VectorCache for the length of a block."""
    cache = VectorCache(folder, identity=identity, dim=dim)
    try:
        yield cache
    finally:
        cache.close()
