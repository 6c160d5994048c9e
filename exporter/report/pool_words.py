"""What reports say of a pool."""

from exporter.parity.results import ArtifactResult, ParityReport
from exporter.report.words import ENGLISH, Words

WAY_NAMES = {
    "both": "its queries, its index",
    "queries": "its queries, the original's index",
    "documents": "the original's queries, its index",
}
MISSED = (
    "dim",
    "deployment",
    "MRR@10 lower by",
    "fp32's lower by",
    "among a question's ten",
    "overlap@10 off by",
)


def show_size(report: ParityReport, _: Words = ENGLISH) -> str:
    """Return `300 documents`, or how many of them the pool holds."""
    whole = f"{report.documents:,}"
    if report.pool is None:
        return _("%(whole)s documents", whole=whole)
    held = f"{report.pool.documents:,}"
    return _("a pool of %(held)s of %(whole)s documents", held=held, whole=whole)


def show_pool(report: ParityReport, _: Words = ENGLISH) -> str:
    """Return how the pool was chosen and what intervals hold for it; nothing without a pool."""
    pool = report.pool
    if pool is None:
        return ""
    sampled = (
        _(
            "%(drawn)s of the rest drawn at random (seed %(seed)s)",
            drawn=f"{pool.drawn:,}",
            seed=pool.seed,
        )
        if pool.drawn
        else _("no random sample, so that nothing bounds what the pool may miss")
    )
    return _(
        "Pooled: all figures are of %(held)s of the %(whole)s documents: the first %(first)s of "
        "each question by %(chooser)s, which has read them all, and by BM25, the %(judged)s that "
        "the answers name, and %(sampled)s. A document outside the pool could only push right "
        "answers down. How far it may is bounded by the random sample: how much an encoder moves "
        "its documents' scores away from the chooser's, and how far those outside would have to be "
        "moved to pass a right answer (95 %%, one side; a document that the sample does not stand "
        "for is taken to be moved twice as far as any in it). Each interval is wider by that on "
        "the side where it matters.",
        held=f"{pool.documents:,}",
        whole=f"{report.documents:,}",
        first=pool.first,
        chooser=pool.chooser,
        judged=f"{pool.judged:,}",
        sampled=sampled,
    )


def missed_rows(artifact: ArtifactResult, _: Words = ENGLISH) -> list[list[str]]:
    """Return what lies outside the pool can change: a row for each dim and way, as `MISSED`."""
    return [
        [
            f"{d.dim}",
            _(WAY_NAMES[w.way]),
            f"{w.missed.mrr_at_10:.4f}",
            f"{w.missed.reference_mrr_at_10:.4f}",
            f"{w.missed.entering:.3f}",
            f"{w.missed.overlap_at_10:.4f}",
        ]
        for d in artifact.dims
        for w in d.deployments
        if w.missed is not None
    ]
