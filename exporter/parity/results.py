"""parity.json: what was measured, and what it was judged to be."""

from typing import Literal

from exporter.recipe import Limits, Way
from exporter.records import Record
from exporter.vectors.search import Metrics

SCHEMA_VERSION: Literal[7] = 7
Verdict = Literal["pass", "fail", "undecided"]


class WorstText(Record):
    """A text with a low cosine to the reference, as encoded, and its id in the corpus."""

    id: str
    kind: Literal["document", "question"]
    cosine: float
    text: str


class CosineSummary(Record):
    """Cosines of one set of vectors to the fp32 reference, over all texts."""

    minimum: float
    p1: float
    median: float
    mean: float
    worst: tuple[WorstText, ...] = ()


class ErrorHistogram(Record):
    """How many texts lie at which 1 - cosine to fp32.

    Bin i counts the texts from 10 ** (low_exponent + i / per_decade) up to the next bin's start;
    the first counts all below too, the last all above.
    """

    low_exponent: int
    per_decade: int
    counts: tuple[int, ...]


class Difference(Record):
    """A mean paired difference over the questions, with its 95 % interval, widened by what a pool
    may miss where there is one."""

    mean: float
    low: float
    high: float


class Interval(Record):
    """A mean over the questions, with its 95 % interval."""

    mean: float
    low: float
    high: float


class Differences(Record):
    """Ours minus torch fp32's, for each measure."""

    mrr_at_10: Difference
    hit_at_10: Difference
    top_1: Difference
    ndcg_at_10: Difference


class McNemar(Record):
    """Exact McNemar test on Top-1: only questions that one of the two gets right can tell."""

    lost: int
    """Right in the reference, wrong in ours."""
    won: int
    p_value: float
    """Two-sided; how likely so uneven a split is where neither is better."""


class Power(Record):
    """What a comparison on this many questions can prove."""

    questions: int
    margin: float
    provable_margin: float
    """The least margin that an artifact passes here which loses nothing on average and whose
    differences are spread as these are."""
    questions_for_margin: int | None
    """How many questions such an artifact needs to pass `margin`; None beyond ten million."""


class ChangedAnswer(Record):
    """A question whose first document is not torch fp32's. Documents are ids.

    Ranks are the right answer's, None where it is not among the ten. Gaps are differences of
    scores: how far each puts its own first document before the other's.
    """

    question: str
    reference_first: str
    our_first: str
    reference_rank: int | None
    our_rank: int | None
    reference_gap: float
    our_gap: float


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


class Missed(Record):
    """What lies outside a pool can change these at most, by the pool's random sample."""

    mrr_at_10: float
    """By how much ours may be lower over the whole corpus; `differences` holds it already."""
    reference_mrr_at_10: float
    """The same of torch fp32."""
    entering: float
    """Documents outside among our first ten, a question."""
    overlap_at_10: float
    """By how much the overlap with fp32 may be off; `overlap_at_10` holds it already."""


class Deployment(Record):
    """One way to use the artifact, against torch fp32. `both`: its queries on its index. `queries`:
    its queries on fp32's index, as on one already shipped. `documents`: fp32's queries on its
    index.
    """

    way: Way
    cosine_p1: float
    """To fp32, over the texts that the artifact embeds in this way."""
    cosine_median: float
    metrics: Metrics
    differences: Differences
    mrr_to_bf16: Difference
    """MRR@10 minus that of torch bf16 on both sides, what users run. Not judged: where bf16 happens
    to be lucky, every faithful artifact seems to lose."""
    margin: float
    """How much MRR@10 may be lost here."""
    overlap_at_10: Interval
    """With fp32's lists."""
    first_place_changed: int
    """Questions whose first document is not fp32's."""
    changed_answers: tuple[ChangedAnswer, ...] = ()
    """The most telling of them, at its widest dim only: right answers lost or won first."""
    mcnemar: McNemar
    missed: Missed | None = None
    """None where the whole corpus was searched."""
    verdict: Verdict
    reasons: tuple[str, ...]


class RankFlips(Record):
    """How many questions differ between each two of `names`. Square, zero on the diagonal."""

    names: tuple[str, ...]
    first_place: tuple[tuple[int, ...], ...]
    """Another document comes first."""
    answer_moved: tuple[tuple[int, ...], ...]
    """The right answer has another place among the ten, or left or entered them."""


class LengthBucket(Record):
    """Texts of one range of lengths in tokens, special tokens included."""

    label: str
    texts: int
    cosine: CosineSummary | None
    """To fp32; None where there are no texts."""
    questions: int
    """Questions whose right article lies here."""
    mrr_at_10: float | None
    reference_mrr_at_10: float | None


class DimResult(Record):
    """One artifact at one dim."""

    dim: int
    cosine: CosineSummary
    errors: ErrorHistogram
    error_over_noise: float | None
    """Median 1 - cosine to fp32, as a multiple of torch bf16's; None where bf16 has none."""
    reference: Metrics
    """torch fp32 at the same dim."""
    baseline: Metrics
    """torch bf16 at the same dim."""
    deployments: tuple[Deployment, ...]
    rank_flips: RankFlips
    power: Power
    lengths: tuple[LengthBucket, ...]
    verdict: Verdict
    """Over the ways that are judged."""
    reasons: tuple[str, ...]

    def deployed(self, way: Way) -> Deployment:
        """Return the figures of one way of deployment."""
        return next(d for d in self.deployments if d.way == way)


class Invariance(Record):
    """Does a text's vector depend on anything but the text? Counts are of texts whose vector is
    not the same to the bit; errors are the worst 1 - cosine between the two vectors.

    None where the runtime has no such thing: llama.cpp takes texts of any length in one batch.
    """

    texts: int
    width: int
    """Tokens that the longest of them has."""
    own_error: float
    """Worst 1 - cosine to torch fp32 on these texts: the yardstick."""
    as_used_changed: int
    """In a call of all texts, against a call of its own."""
    as_used_error: float
    companions_changed: int | None
    """Padded to the same width, in one batch against alone."""
    companions_error: float | None
    order_changed: int | None
    """Padded to the same width, the batch in reverse order."""
    order_error: float | None
    padding_changed: int | None
    padding_error: float | None
    """Not padded against padded on the right: to the width, half as much again, and as far as the
    model reads."""
    left_padding_error: float | None
    """Padded on the left; reported only, nothing here pads there."""
    threads_changed: int
    """With one thread against two."""
    threads_error: float


class PaddedBatches(Record):
    """Questions in padded batches, as sentence-transformers makes them, on the artifact's own index
    at its widest dim, against torch fp32."""

    batch: int
    """Texts of similar length in a batch, padded on the right to the longest."""
    cosine_minimum: float
    """To the same question's vector as it was judged, not padded."""
    overlap_at_10: float
    mrr_difference: Difference
    verdict: Verdict
    reasons: tuple[str, ...]


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

    schema_version: Literal[7] = SCHEMA_VERSION
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
