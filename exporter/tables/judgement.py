"""parity-index.json: artifacts against a table that is already shipped, without right answers."""

from collections.abc import Sequence
from typing import Literal, TypeVar

from exporter.parity.measured import CosineSummary, Difference, Interval, RankFlips, Verdict
from exporter.parity.results import LostPiece
from exporter.records import Record
from exporter.tables.columns import Columns, IndexOrigin
from exporter.tables.vector_table import Metric

IndexVerdict = Literal["pass", "fail", "undecided", "unverified origin"]
"""`unverified origin`: nothing says what the vectors were made from, so nothing is proven."""


class OriginCheck(Record):
    """Was the table made with this checkpoint and this document prompt?

    `cosine`: of the first `rows` rows to torch fp32, made again from their texts; None where no
    text column is known. `limit` is for its 1st percentile: the recipe's for the scheme that the
    table's own metadata names, else for 16 bits, and never closer than twice bf16's own distance.
    `stripped`: rows that fit only with the white space at both ends of their text stripped, as
    sentence-transformers 5 does.
    """

    status: Literal["verified", "unverified", "refuted"]
    reasons: tuple[str, ...]
    metadata: IndexOrigin | None
    rows: int
    document_prompt: str
    cosine: CosineSummary | None
    limit: float
    """The recipe's for the scheme, or twice as far as torch bf16 lies on these rows."""
    noise: float | None
    """torch bf16's own 1st percentile on these rows."""
    stripped: int


class ChangedFirst(Record):
    """A question whose first document is another than torch bf16's.

    `reference_rank`: where the reference's first document stands in the artifact's list, None
    where it is not among the ten.
    """

    id: str
    question: str
    reference: str
    artifact: str
    reference_rank: int | None


class IndexSearch(Record):
    """An artifact's queries on the table by one metric, exactly searched.

    `self_mrr_at_10` takes torch fp32's first document for the right answer; `difference` is the
    artifact's minus torch bf16's: how much farther from the truth than what the user runs today.
    """

    metric: Metric
    overlap_at_10: Interval
    """With the lists of torch fp32. Judged."""
    overlap_at_10_bf16: Interval
    """With those of torch bf16."""
    top_1_agreement: Interval
    """Share of questions with torch bf16's first document."""
    self_mrr_at_10: float
    difference: Difference
    rank_flips: RankFlips
    """Between torch fp32, torch bf16 and the artifact; the answer is torch fp32's first."""
    changed: tuple[ChangedFirst, ...]
    judged: bool
    verdict: Verdict
    reasons: tuple[str, ...]


class IndexArtifact(Record):
    """One artifact on the table. `searches` is empty where it gave no usable vectors."""

    name: str
    format: str
    scheme: str
    manifest_sha256: str
    size_bytes: int
    tokens_differ: int
    spelled: int = 0
    """Questions with a piece that its vocabulary lacks, and spells with shorter ones."""
    lost_most: tuple[LostPiece, ...] = ()
    cosine: CosineSummary | None
    """Of its query vectors to torch fp32."""
    searches: tuple[IndexSearch, ...]
    verdict: Verdict
    reasons: tuple[str, ...]


class IndexNoise(Record):
    """Torch bf16 on the table, against torch fp32: what the user's own rounding changes."""

    metric: Metric
    overlap_at_10: float
    top_1_agreement: float
    self_mrr_at_10: float


class IndexReport(Record):
    """The whole report, exact search only. Same table version, same input: same bytes."""

    schema_version: Literal[4] = 4
    tool_version: str
    model_name: str
    checkpoint_files: dict[str, str]
    libraries: dict[str, str]
    index: str
    table: str
    table_version: int
    columns: Columns
    rows: int
    dim: int
    shortest: float
    longest: float
    """Lengths of the stored vectors. All 1: L2 and cosine rank alike."""
    questions_file: str
    questions_sha256: str
    questions: int
    query_prompt: str
    origin: OriginCheck
    noise_floor: tuple[IndexNoise, ...]
    artifacts: tuple[IndexArtifact, ...]
    verdict: IndexVerdict
    reasons: tuple[str, ...]


class ApproximateSearch(Record):
    """One asker's queries through an approximate index."""

    name: str
    recall_at_10: Interval
    """Share of its own exact ten that the index gives it."""
    overlap_at_10: Interval
    """With what torch bf16 gets through the same index."""
    top_1_agreement: Interval
    """With torch bf16, through the same index."""


class ApproximateIndex(Record):
    """An approximate index on the table. Its figures depend on how it was trained: not judged.

    None for `nprobes` and `refine_factor` means LanceDB's defaults, which an application gets that
    sets nothing. `searches` is empty for a metric that is not compared.
    """

    name: str
    kind: str
    distance: str
    unindexed_rows: int
    nprobes: int | None
    refine_factor: int | None
    searches: tuple[ApproximateSearch, ...]


class IndexRun(Record):
    """parity-index.run.json: what another run may find otherwise."""

    machine: str
    libraries: dict[str, str]
    seconds: dict[str, float]
    table_version: int
    table_version_at_end: int
    approximate: tuple[ApproximateIndex, ...]


FoundRows = TypeVar("FoundRows", IndexSearch, IndexNoise)


def merged(results: Sequence[FoundRows]) -> list[tuple[str, FoundRows]]:
    """Return (metrics, result), what is the same under two metrics once: for people."""
    groups: list[tuple[list[str], FoundRows]] = []
    for result in results:
        same = (g for g in groups if g[1].model_copy(update={"metric": result.metric}) == result)
        group = next(same, None)
        if group is None:
            groups.append(([result.metric], result))
        else:
            group[0].append(result.metric)
    return [(", ".join(metrics), result) for metrics, result in groups]
