"""parity.json: what was measured, and what it was judged to be."""

from typing import Literal

from exporter.records import Record

Verdict = Literal["pass", "fail", "undecided"]


class WorstText(Record):
    """A text with a low cosine to the reference, and its id in the corpus."""

    id: str
    cosine: float
    text: str


class CosineSummary(Record):
    """Cosines of one set of vectors to the fp32 reference, over all texts."""

    minimum: float
    p1: float
    median: float
    mean: float
    worst: tuple[WorstText, ...] = ()


class Metrics(Record):
    """Means over the questions."""

    mrr_at_10: float
    hit_at_10: float
    top_1: float
    ndcg_at_10: float


class Difference(Record):
    """A mean paired difference over the questions, with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class DimResult(Record):
    """One artifact, or the bf16 reference, at one dim."""

    dim: int
    cosine: CosineSummary
    metrics: Metrics
    reference: Metrics
    """The bf16 reference at the same dim."""
    mrr_difference: Difference
    overlap_at_10: float
    """With the lists of the fp32 reference; judged."""
    overlap_at_10_bf16: float
    """With the lists of the bf16 reference, whose own noise is in it; not judged."""
    first_place_changed: int
    """Questions whose first document is not the bf16 reference's."""
    queries_on_reference_index: Metrics
    """Its queries against the bf16 reference's document vectors: an index already shipped."""
    queries_on_reference_index_difference: Difference
    reference_queries_on_index: Metrics
    """The bf16 reference's queries against its document vectors."""
    reference_queries_on_index_difference: Difference
    verdict: Verdict
    reasons: tuple[str, ...]


class ArtifactResult(Record):
    """One artifact. `manifest_sha256` ties the verdict to its exact bytes.

    `dims` is empty where it gave no usable vectors; `reasons` then says why. `window_used` is raw,
    as in its manifest.
    """

    name: str
    kind: str
    scheme: str
    manifest_sha256: str
    size_bytes: int
    window_used: int | None
    tokens_differ: int
    first_token_difference: str | None
    dims: tuple[DimResult, ...]
    verdict: Verdict
    reasons: tuple[str, ...]


class NoiseFloor(Record):
    """How far the bf16 reference is from fp32: the unit of every other error."""

    dim: int
    cosine: CosineSummary
    mrr_at_10_fp32: float
    mrr_at_10_bf16: float
    overlap_at_10: float


class ParityReport(Record):
    """The whole report. No timestamps: the same input gives the same bytes."""

    schema_version: Literal[1] = 1
    tool_version: str
    model_name: str
    checkpoint_files: dict[str, str]
    corpus: str
    corpus_sha256: str
    documents: int
    questions: int
    window_used: int | None
    libraries: dict[str, str]
    """Versions that decided the reference's vectors."""
    query_prompt: str
    document_prompt: str
    reference: str
    noise_floor: tuple[NoiseFloor, ...]
    artifacts: tuple[ArtifactResult, ...]
    verdict: Verdict

    def of_manifest(self, sha256: str) -> ArtifactResult | None:
        """Return the result for the artifact whose manifest has this hash."""
        return next((a for a in self.artifacts if a.manifest_sha256 == sha256), None)
