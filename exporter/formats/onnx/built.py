"""The graph built straight from the weights: no tracing, no torch, the whole pipeline inside."""

from pathlib import Path

import numpy as np

from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput
from exporter.formats.onnx.flavour import PORTABLE, Flavour
from exporter.formats.onnx.graph_writer import FLOAT, INT64, GraphWriter, OnWritten, tensor_value
from exporter.formats.onnx.layers import Layers
from exporter.formats.onnx.scheme import Input, Scheme
from exporter.manifest import TensorRecord
from exporter.quantization.weights import ModelWeights

SHORTEST = 1e-12  # the floor of a length that torch.nn.functional.normalize divides by


def export_built(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    scheme: Scheme,
    dim: int,
    flavour: Flavour = PORTABLE,
    weights: ModelWeights | None = None,
    on_progress: OnWritten | None = None,
) -> tuple[TensorRecord, ...]:
    """Write model.onnx and model.onnx_data to `folder`. Returns what was stored.

    Inputs input_ids, attention_mask: (batch, sequence) int64. Outputs last_hidden_state, (batch,
    sequence, dim): token states with Dense applied, so that a consumer that pools them as the
    checkpoint does, and normalises, gets the right vector; and sentence_embedding, (batch, dim),
    unit length.
    Both are float32 whatever the scheme computes in. `weights`: the same function with factors
    moved, as the scheme wants them.
    """
    check_built(checkpoint)
    with GraphWriter(folder, flavour=flavour, on_written=on_progress) as writer:
        weights = weights or ModelWeights(checkpoint)
        hidden = Layers(writer, weights, scheme).hidden_states("input_ids", "attention_mask")
        _pool(writer, weights, hidden, scheme=scheme, dim=dim)
        batch = ("batch", "sequence")
        writer.save(
            [tensor_value(n, INT64, batch) for n in ("input_ids", "attention_mask")],
            [
                tensor_value("last_hidden_state", FLOAT, (*batch, dim)),
                tensor_value("sentence_embedding", FLOAT, ("batch", dim)),
            ],
            producer="lawvault-exporter",
        )
        return tuple(writer.records)


def check_built(checkpoint: Checkpoint) -> None:
    """Raise BadInput where the architecture has no builder."""
    if checkpoint.architecture is None:
        reason = checkpoint.not_built or checkpoint.model_type
        raise BadInput(f"unknown architecture for --graph built ({reason}); use --graph traced")


def _pool(
    writer: GraphWriter, weights: ModelWeights, hidden: str, *, scheme: Scheme, dim: int
) -> None:
    w, checkpoint = writer, weights.checkpoint
    dense = weights.head(dim=dim)
    if dense is not None:
        states = scheme.matmul(w, Input(hidden), lambda: dense, name="dense_folded")
    elif dim < checkpoint.dim:
        bounds = [w.constant([n], np.int64) for n in (0, dim, 2)]
        states = w.node("Slice", [hidden, *bounds])
    else:
        states = hidden
    # In float32 from here on: a sum over many tokens would leave float16.
    w.node("Cast", [states], names=["last_hidden_state"], to=FLOAT)
    mask = _token_weights(w, checkpoint.pooling)
    # A product for each text: ReduceSum adds in another order when the batch has another size,
    # and the vector of a text must not depend on its companions.
    row = w.node("Unsqueeze", [mask, w.constant([1], np.int64)])
    total = w.node("MatMul", [row, "last_hidden_state"])
    total = w.node("Squeeze", [total, w.constant([1], np.int64)])
    last = w.constant([-1], np.int64)
    count = w.node("ReduceSum", [mask, last], keepdims=1)
    pooled = w.node("Div", [total, w.node("Max", [count, w.constant(1.0, np.float32)])])
    if not checkpoint.normalize:
        w.node("Identity", [pooled], names=["sentence_embedding"])
        return
    length = w.node("ReduceL2", [pooled, last], keepdims=1)
    floor = w.node("Max", [length, w.constant(SHORTEST, np.float32)])
    w.node("Div", [pooled, floor], names=["sentence_embedding"])


def _token_weights(w: GraphWriter, pooling: str) -> str:
    """Return what each token weighs, (batch, sequence) float32: see `quantization.pooling`."""
    mask: str = w.node("Cast", ["attention_mask"], to=FLOAT)
    if pooling == "mean":
        return mask
    assert pooling in ("cls", "lasttoken"), pooling
    length = w.node("Squeeze", [w.node("Shape", ["attention_mask"], start=1, end=2)])
    one = w.constant(1, np.int64)
    # Places from 1 up, from the end or the beginning: the wanted token has the largest real one.
    bounds = (length, w.constant(0, np.int64), w.constant(-1, np.int64))
    if pooling == "lasttoken":
        bounds = (one, w.node("Add", [length, one]), one)
    places = w.node("Cast", [w.node("Range", [*bounds])], to=FLOAT)
    real = w.node("Mul", [places, mask])
    highest = w.node("ReduceMax", [real, w.constant([-1], np.int64)], keepdims=1)
    before = w.node("Sub", [highest, w.constant(0.5, np.float32)])
    chosen = w.node("Cast", [w.node("Greater", [real, before])], to=FLOAT)
    # Of a text without real tokens every place would be it.
    found: str = w.node("Mul", [chosen, mask])
    return found
