"""parity.json: what was measured, and what it was judged to be."""

from typing import Literal

from exporter.checkpoint.adapters.record import AdapterRecord
from exporter.parity.measured import (
    CosineSummary,
    Difference,
    DimResult,
    ErrorHistogram,
    Invariance,
    PaddedBatches,
    Verdict,
)
from exporter.recipe import Limits, Way
from exporter.records import Record

SCHEMA_VERSION: Literal[8] = 8


class Pooling(Record):
    """Which documents of the corpus all figures are of: a pool, not the whole."""

    documents: int
    """In the pool."""
    first: int
    """Documents of each question that each chooser named, at every dim."""
    chooser: str
    """The encoder that saw the whole corpus; BM25 did beside it."""
    judged: int
    """Documents that the corpus' answers name."""
    drawn: int
    """Drawn at random out of those that no chooser named."""
    seed: int


class PartSize(Record):
    """What one part of the model takes up in an artifact."""

    part: Literal[
        "embedding table",
        "attention",
        "MLP",
        "head",
        "norms",
        "other tensors",
        "graph or vocabulary",
    ]
    size_bytes: int


class LostPiece(Record):
    """A piece that an artifact's vocabulary lacks, and how often the texts have it."""

    piece: str
    times: int


class CutVocabulary(Record):
    """What a vocabulary of `pieces`, of the original's `of`, does to the texts.

    Identical are texts whose pieces are the original's one for one: their vectors are those of the
    same artifact with the whole table. The others spell what is lost with shorter pieces: their
    `cosine` to fp32, and their questions' MRR@10 with the artifact on both sides, and fp32's; None
    where there are none.
    """

    pieces: int
    of: int
    documents: int
    documents_identical: int
    questions: int
    questions_identical: int
    occurrences: int
    """Of pieces in all texts, as the original reads them."""
    lost: int
    """Of these, of pieces that are not kept."""
    lost_most: tuple[LostPiece, ...]
    cosine: CosineSummary | None
    mrr_at_10: float | None
    mrr_at_10_fp32: float | None


class ArtifactResult(Record):
    """One artifact. `manifest_sha256` ties the verdict to its exact bytes.

    `dims` is empty where it gave no usable vectors; `reasons` then says why. `window_used` is raw,
    as in its manifest.
    """

    name: str
    format: str
    flavour: str
    """An ONNX graph's: portable, web or cpu23; nothing for other kinds."""
    scheme: str
    manifest_sha256: str
    size_bytes: int
    parts: tuple[PartSize, ...]
    """What `size_bytes` is made of, from the manifest's tensors."""
    limits: Limits
    """By which it was judged."""
    window_used: int | None
    kernels: str | None = None
    """Which of its runtime's kernels gave the vectors, where that decides them: with others they
    lie about as far from these as from fp32."""
    tokens_differ: int
    first_token_difference: str | None
    unproven: bool = False
    """Whether its scheme was measured on no real weights of its model family."""
    vocabulary: CutVocabulary | None = None
    """None for an artifact with all pieces of the original."""
    dims: tuple[DimResult, ...]
    invariance: Invariance | None
    padded: PaddedBatches | None
    """None where the runtime does not pad, or gave no usable vectors."""
    verdict: Verdict
    reasons: tuple[str, ...]


class NoiseWay(Record):
    """What torch bf16 reaches in one way of deployment, as an artifact would."""

    way: Way
    cosine_p1: float
    overlap_at_10: float
    mrr_difference: Difference
    """bf16 minus fp32."""


class NoiseFloor(Record):
    """How far torch bf16 is from fp32: the unit of every other error."""

    dim: int
    cosine: CosineSummary
    errors: ErrorHistogram
    mrr_at_10_fp32: float
    mrr_at_10_bf16: float
    ways: tuple[NoiseWay, ...]

    def deployed(self, way: Way) -> NoiseWay:
        """Return bf16's own figures of one way of deployment."""
        return next(w for w in self.ways if w.way == way)


class WindowEffect(Record):
    """What a sliding window damaged by saving does, in torch fp32 at the full dim.

    Windows are raw: positions see each other when |i - j| <= raw // 2.
    """

    saved: int
    repaired: int
    texts_affected: int
    """Texts long enough to meet the narrower of the two."""
    cosine: CosineSummary | None
    """Between the two, over the texts affected; None where there are none."""
    mrr_at_10_saved: float
    mrr_at_10_repaired: float
    mrr_difference: Difference
    """Repaired minus saved."""
    queries_on_saved_index: Difference
    """Repaired queries on an index made as saved, minus all as saved."""


class WhiteSpace(Record):
    """One kind of white space at one end of a question, in torch fp32 at the full dim.

    Cosines are to the question without it. `given`: encoded as it stands, as this tool,
    sentence-transformers 6 and the serving runtimes do. `stripped`: both ends of the rendered text
    stripped, as sentence-transformers 5 does.
    """

    where: Literal["leading", "trailing"]
    character: str
    questions: int
    given_median: float
    given_minimum: float
    given_first_place_changed: int
    stripped_median: float
    stripped_minimum: float
    stripped_first_place_changed: int


class Stripping(Record):
    """What a stray space does. `texts_affected`: texts of the corpus that begin or end with one,
    as rendered, so that the two conventions differ on them."""

    texts_affected: int
    white_space: tuple[WhiteSpace, ...]


class Article(Record):
    """A document that a result mentions; a long text is cut."""

    title: str
    text: str


class Question(Record):
    """A question that a result mentions, and the ids of its right documents."""

    text: str
    right: tuple[str, ...]


class ParityReport(Record):
    """The whole report. No timestamps: the same input gives the same bytes."""

    schema_version: Literal[8] = SCHEMA_VERSION
    tool_version: str
    model_name: str
    checkpoint_files: dict[str, str]
    adapter: AdapterRecord | None = None
    """What artifacts have merged, and the reference runs unmerged in PEFT."""
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
    judged_ways: tuple[Way, ...]
    pool: Pooling | None
    """None where the whole corpus was embedded and searched."""
    noise_floor: tuple[NoiseFloor, ...]
    window_effect: WindowEffect | None
    """None for a checkpoint whose window shows no damage."""
    stripping: Stripping
    artifacts: tuple[ArtifactResult, ...]
    articles: dict[str, Article]
    """By id: documents among worst texts and changed answers, and their questions' right ones."""
    asked: dict[str, Question]
    """By id: the questions among worst texts and changed answers."""
    verdict: Verdict

    def of_manifest(self, sha256: str) -> ArtifactResult | None:
        """Return the result for the artifact whose manifest has this hash."""
        return next((a for a in self.artifacts if a.manifest_sha256 == sha256), None)
