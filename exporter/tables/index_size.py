"""index-size.json: how small an index may be, one row a way of storing and searching vectors."""

from typing import Literal

from exporter.parity.measured import Difference, Interval, Verdict
from exporter.records import Record

Copy = Literal["none", "float32", "int8"]
"""What the first candidates are scored again from, at full width."""

SCANNED = ("float32", "float16", "int8", "binary")
"""Every row is scanned: columns of LanceDB, and for int8 its scalar quantizer in one partition."""
APPROXIMATE = ("IVF-PQ/16", "IVF-PQ/8", "IVF-SQ", "HNSW-SQ")
"""LanceDB's approximate indexes with its own defaults; IVF-PQ with a byte for 16 or 8 components
(16 is LanceDB's own)."""
CANDIDATES = 100
"""Rows that are scored again; ten are shown."""


class Way(Record):
    """`dim` components in `codec`, the first candidates scored again from `copy_of`."""

    dim: int
    codec: str
    copy_of: Copy = "none"

    @property
    def approximate(self) -> bool:
        """Whether rows are skipped."""
        return self.codec in APPROXIMATE


class SizedSearch(Record):
    """What one way finds.

    `scanned`: bytes a document that a search goes through, an index' graph and row ids included;
    `stored`: with the column that an index is built on, and the copy. `mrr_at_10`, `difference`:
    to exact search in float32 at full width; without judgements its first answer is the right one.
    `numpy_overlap_at_10`: with the same codec in numpy, None where it has no reference.
    """

    way: Way
    scanned: float
    stored: float
    mrr_at_10: float
    difference: Difference
    overlap_at_10: Interval
    numpy_overlap_at_10: float | None
    verdict: Verdict


class IndexSizeReport(Record):
    """The whole report. Approximate indexes are trained at random: their figures vary."""

    schema_version: Literal[1] = 1
    tool_version: str
    artifact: str
    source: str
    """The corpus, or the table."""
    rows: int
    dim: int
    questions: int
    judged: bool
    """Whether right answers are known; else float32's first is taken for right."""
    mrr_at_10: float
    """Of exact search in float32 at full width."""
    margin: float
    libraries: dict[str, str]
    searches: tuple[SizedSearch, ...]
    left_out: tuple[str, ...]

    @property
    def smallest(self) -> SizedSearch | None:
        """Return the way that passes and scans least, of those the one that stores least."""
        passing = [s for s in self.searches if s.verdict == "pass"]
        return min(passing, key=lambda s: (s.scanned, s.stored), default=None)

    @property
    def front(self) -> tuple[SizedSearch, ...]:
        """Return the ways that no other beats in both bytes scanned and MRR@10, smallest first."""
        made: list[SizedSearch] = []
        for search in sorted(self.searches, key=lambda s: (s.scanned, -s.mrr_at_10)):
            if not made or search.mrr_at_10 > made[-1].mrr_at_10:
                made.append(search)
        return tuple(made)


class WayTime(Record):
    """`build_seconds`: of the index, 0 for a column; `query_ms`: median of one question, candidates
    scored again included, one thread asking."""

    way: Way
    build_seconds: float
    query_ms: float


class IndexSizeRun(Record):
    """index-size.run.json: what another run finds otherwise."""

    machine: str
    times: tuple[WayTime, ...]


def components_of(codec: str) -> int:
    """Return how many components a byte of a product quantizer stands for, 1 for other codecs."""
    return int(codec.partition("/")[2] or 1)


def ways_of(dims: tuple[int, ...], *, full: int) -> list[Way]:
    """Return every way, widths in the order given. A copy that is no finer than what was scanned is
    left out."""
    made = []
    for dim in dims:
        for codec in (*SCANNED, *APPROXIMATE):
            made.append(Way(dim=dim, codec=codec))
            exact = dim == full and codec in ("float32", "float16")
            if not exact:
                made.append(Way(dim=dim, codec=codec, copy_of="float32"))
            if not exact and not (dim == full and codec in ("int8", "IVF-SQ", "HNSW-SQ")):
                made.append(Way(dim=dim, codec=codec, copy_of="int8"))
    return made
