"""What is measured of one artifact: the parts of its result in parity.json."""

from typing import Literal

from exporter.recipe import Way
from exporter.records import Record
from exporter.vectors.search import Metrics

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
