"""What reports say of a pool."""

from exporter.parity.results import ArtifactResult, ParityReport

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


def show_size(report: ParityReport) -> str:
    """Return `300 documents`, or how many of them the pool holds."""
    whole = f"{report.documents:,} documents"
    return f"pooled: {report.pool.documents:,} of {whole}" if report.pool else whole


def show_pool(report: ParityReport) -> str:
    """Return how the pool was chosen and what intervals hold for it; nothing without a pool."""
    pool = report.pool
    if pool is None:
        return ""
    sampled = (
        f"{pool.drawn:,} of the rest drawn at random (seed {pool.seed})"
        if pool.drawn
        else "no random sample, so that nothing bounds what the pool may miss"
    )
    return (
        f"Pooled: all figures are of {pool.documents:,} of the {report.documents:,} documents: the "
        f"first {pool.first} of each question by {pool.chooser}, which has read them all, and by "
        f"BM25, the {pool.judged:,} that the answers name, and {sampled}. A document outside the "
        "pool could only push right answers down. How far it may is bounded by the random sample: "
        "how much an encoder moves its documents' scores away from the chooser's, and how far "
        "those outside would have to be moved to pass a right answer (95 %, one side; a document "
        "that the sample does not stand for is taken to be moved twice as far as any in it). Each "
        "interval is wider by that on the side where it matters."
    )


def missed_rows(artifact: ArtifactResult) -> list[list[str]]:
    """Return what lies outside the pool can change: a row for each dim and way, as `MISSED`."""
    return [
        [
            f"{d.dim}",
            WAY_NAMES[w.way],
            f"{w.missed.mrr_at_10:.4f}",
            f"{w.missed.reference_mrr_at_10:.4f}",
            f"{w.missed.entering:.3f}",
            f"{w.missed.overlap_at_10:.4f}",
        ]
        for d in artifact.dims
        for w in d.deployments
        if w.missed is not None
    ]
