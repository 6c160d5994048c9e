"""Positions as rows of a table: see `exporter.architectures.steps.Place`."""

import numpy as np
import numpy.typing as npt

from exporter.architectures.steps import Place
from exporter.formats.onnx.graph_writer import INT64, GraphWriter


def place_rows(
    w: GraphWriter, step: Place, rows: npt.NDArray[np.floating], *, ids: str, mask: str
) -> str:
    """Add the lookup of each token's row. rows: (places, hidden). Returns what can be added to
    (batch, sequence, hidden): of that shape, or (sequence, hidden) where all texts share places."""
    stored = w.weight(step.weight, rows, reason="positions, the row of every text added")
    if step.unplaced is None:
        length = w.node("Shape", [ids], start=1, end=2)
        zero, axis = (w.constant([0], np.int64) for _ in range(2))
        shared: str = w.node("Slice", [stored, zero, length, axis])
        return shared
    # Counted in the mask too: padding of any id, on either side, moves no token.
    unplaced = w.constant(step.unplaced, np.int64)
    padding = w.node("Cast", [w.node("Equal", [ids, unplaced])], to=INT64)
    counted = w.node("Mul", [w.node("Sub", [w.constant(1, np.int64), padding]), mask])
    count = w.node("CumSum", [counted, w.constant(1, np.int64)])
    places = w.node("Add", [w.node("Mul", [count, counted]), unplaced])
    own: str = w.node("Gather", [stored, places], axis=0)
    return own
