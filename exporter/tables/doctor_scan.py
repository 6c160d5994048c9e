"""What is wrong with rows of a table that no model is needed to see."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from exporter.progress import Progress
from exporter.tables.diagnosis import MOST_IDS, RowProblem
from exporter.tables.vector_table import VectorTable
from exporter.vectors.rows import UNIT_TOLERANCE

ROUNDING = {2: 2e-3, 4: UNIT_TOLERANCE, 8: UNIT_TOLERANCE}
"""How far a length may be from 1, by the bytes of a stored number."""
REBUILD = "embed them again, or build the table again with 'lawvault index'"


@dataclass
class Scan:
    """A table read once. `lengths`: characters of each row's text, 0 where it has none."""

    ids: list[str] = field(default_factory=list)
    usable: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    lengths: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    problems: list[RowProblem] = field(default_factory=list)


def scan_rows(table: VectorTable, *, progress: Progress) -> Scan:
    """Read every id, vector and text once, and name rows that cannot be right."""
    scan = Scan()
    norms, vector_keys = [], []
    for ids, rows in table.vectors(missing=True):
        scan.ids += ids
        norms.append(np.linalg.norm(rows.astype(np.float64), axis=1))
        vector_keys += [_key(row.tobytes()) for row in rows]
        progress(len(ids))
    norm = np.concatenate(norms)
    missing, zero = ~np.isfinite(norm), norm == 0
    scan.usable = ~(missing | zero)
    text_keys = _texts(table, scan)
    add = _adder(scan)
    add("missing", missing, "have no vector, or one with NaN", REBUILD)
    add("zero", zero, "have a vector of zeros", REBUILD)
    repeated = {key for key, count in Counter(scan.ids).items() if count > 1}
    add(
        "repeated-id",
        _at(scan, lambda i: scan.ids[i] in repeated),
        "share an id with another row",
        "delete the stale ones",
    )
    add("no-id", _at(scan, lambda i: not scan.ids[i]), "have no id", "give them one")
    if text_keys:
        add(
            "no-text",
            (scan.lengths == 0) & scan.usable,
            "have a vector and no text",
            "they cannot be checked; delete them or give them their text",
        )
        same_vector = _groups(vector_keys, scan.usable)
        wrong = [
            i for group in same_vector if len({text_keys[i] for i in group}) > 1 for i in group
        ]
        add("one-vector", _of(scan, wrong), "have the vector of a row with another text", REBUILD)
        twice = [i for group in _groups(text_keys, scan.lengths > 0) for i in group]
        add(
            "repeated-text",
            _of(scan, twice),
            "have the text of another row",
            "they tie in every search; harmless where articles are alike",
            note=True,
        )
    loose = ROUNDING[np.dtype(table.dtype).itemsize]
    uneven = scan.usable & (np.abs(norm - 1) > loose)
    shortest, longest = norm[scan.usable].min(initial=1), norm[scan.usable].max(initial=1)
    add(
        "length",
        uneven,
        f"have a length other than 1 ({shortest:.4f} to {longest:.4f})",
        "cosine does not mind, L2 and inner product rank them otherwise",
        note=True,
    )
    return scan


def _texts(table: VectorTable, scan: Scan) -> list[bytes]:
    scan.lengths = np.zeros(len(scan.ids), np.int64)
    keys: list[bytes] = []
    if table.columns.text is None:
        return keys
    for _, titles, texts in table.texts():
        for title, text in zip(titles, texts, strict=True):
            scan.lengths[len(keys)] = len(text) if text.strip() else 0
            keys.append(_key(f"{title}\0{text}".encode()))
    return keys


def _key(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _groups(keys: list[bytes], usable: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Return the rows of each key that stands more than once."""
    found: dict[bytes, list[int]] = {}
    for i in np.flatnonzero(usable):
        found.setdefault(keys[i], []).append(int(i))
    return [group for group in found.values() if len(group) > 1]


def _at(scan: Scan, holds: Callable[[int], bool]) -> npt.NDArray[np.bool_]:
    return np.array([holds(i) for i in range(len(scan.ids))], bool)


def _of(scan: Scan, rows: list[int]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(len(scan.ids), bool)
    mask[rows] = True
    return mask


def _adder(scan: Scan) -> Callable[..., None]:
    def add(
        kind: str, rows: npt.NDArray[np.bool_], said: str, remedy: str, *, note: bool = False
    ) -> None:
        at = np.flatnonzero(rows)
        if at.size:
            scan.problems.append(
                RowProblem(
                    kind=kind,
                    severity="note" if note else "problem",
                    said=said,
                    remedy=remedy,
                    rows=int(at.size),
                    asked=len(scan.ids),
                    ids=tuple(scan.ids[i] for i in at[:MOST_IDS]),
                )
            )

    return add
