"""Intervals wider by what a pool may miss. Without a pool, whose bounds are None, as they were."""

from exporter.parity.measured import Differences, Interval, Missed
from exporter.parity.pool_falls import DEPTH
from exporter.parity.pool_missed import Bound
from exporter.parity.statistics import widened


def widened_differences(
    found: Differences, ours: Bound | None, theirs: Bound | None
) -> Differences:
    """Return each measure's difference with its interval widened on either side."""
    if ours is None or theirs is None:
        return found
    return Differences(
        **{
            name: widened(
                getattr(found, name), ours=ours.measures[name], theirs=theirs.measures[name]
            )
            for name in Differences.model_fields
        }
    )


def widened_overlap(shared: Interval, ours: Bound | None, theirs: Bound | None) -> Interval:
    """Return an overlap of two lists of ten with its interval widened."""
    missed = overlap_missed(ours, theirs)
    return Interval(
        mean=shared.mean, low=max(0.0, shared.low - missed), high=min(1.0, shared.high + missed)
    )


def overlap_missed(ours: Bound | None, theirs: Bound | None) -> float:
    """Return how far an overlap may be off: a document that enters one of two lists of ten, and
    pushes one out, changes what they share by one at most."""
    if ours is None or theirs is None:
        return 0.0
    return min(1.0, (ours.entering + theirs.entering) / DEPTH)


def missed_of(ours: Bound | None, reference: Bound | None) -> Missed | None:
    """Return what the report says of one way of deployment."""
    if ours is None or reference is None:
        return None
    return Missed(
        mrr_at_10=ours.measures["mrr_at_10"],
        reference_mrr_at_10=reference.measures["mrr_at_10"],
        entering=ours.entering,
        overlap_at_10=overlap_missed(ours, reference),
    )
