"""Attention as plain operators: the faster ones on a processor, and the right ones in a browser.

onnxruntime-web 1.31's MultiHeadAttention takes another kernel on WebGPU from 32 tokens on. On
SwiftShader, whose subgroups hold four lanes, it gives every fourth key too much weight; what it
does on other GPUs with small subgroups has not been seen.
"""

import numpy as np

from exporter.architectures.steps import Attend
from exporter.formats.onnx.graph_writer import GraphWriter


def mask_by_group(w: GraphWriter, bias: str, *, group: int) -> str:
    """Return (batch, sequence * group, sequence) of a bias (batch or 1, 1, sequence, sequence):
    each row once for each of the `group` query heads that share a key head."""
    rows = w.node("Transpose", [bias], perm=[0, 2, 1, 3])
    if group > 1:
        rows = w.node("Expand", [rows, w.constant([1, 1, group, 1], np.int64)])
    length = w.node("Shape", [bias], start=3, end=4)
    edges = w.constant([0], np.int64), w.constant([-1], np.int64)
    shape = w.node("Concat", [*edges, length], axis=0)
    mask: str = w.node("Reshape", [rows, shape])
    return mask


def attend_plain(w: GraphWriter, q: str, k: str, v: str, mask: str, *, step: Attend) -> str:
    """Return (batch, sequence, heads * head_dim). q: of that shape, scaled already; k, v: (batch,
    sequence, kv_heads * head_dim); mask: as `mask_by_group` returns it, added to the scores.

    The query heads that share a key head are laid one after the other along the sequence, so that
    keys and values are neither repeated nor broadcast. Where none share one, all heads go at once:
    a split into twelve is more than the ten buffers that a WebGPU shader may have.
    """
    shared = step.kv_heads
    if 1 < shared == step.heads:
        return _all_heads(w, q, k, v, mask, step=step)
    parts: list[tuple[str, str, str]] = [(q, k, v)]
    if shared > 1:
        group = step.heads // shared
        cut = [
            w.node(
                "Split",
                [x, w.constant([heads * step.head_dim] * shared, np.int64)],
                outputs=shared,
                axis=-1,
            )
            for x, heads in ((q, group), (k, 1), (v, 1))
        ]
        parts = list(zip(*cut, strict=True))
    attended = [_one_key_head(w, one, keys, values, mask, step=step) for one, keys, values in parts]
    if len(attended) == 1:
        return attended[0]
    joined: str = w.node("Concat", attended, axis=-1)
    return joined


def _all_heads(w: GraphWriter, q: str, k: str, v: str, mask: str, *, step: Attend) -> str:
    shape = w.constant([0, 0, step.heads, step.head_dim], np.int64)
    rows, keys, values = (
        w.node("Transpose", [w.node("Reshape", [x, shape])], perm=perm)
        for x, perm in ((q, [0, 2, 1, 3]), (k, [0, 2, 3, 1]), (v, [0, 2, 1, 3]))
    )
    scores = w.node("MatMul", [rows, keys])
    bias = w.node("Unsqueeze", [mask, w.constant([1], np.int64)])
    shares = w.node("Softmax", [w.node("Add", [scores, bias])], axis=-1)
    mixed = w.node("Transpose", [w.node("MatMul", [shares, values])], perm=[0, 2, 1, 3])
    found: str = w.node("Reshape", [mixed, w.constant([0, 0, -1], np.int64)])
    return found


def _one_key_head(w: GraphWriter, q: str, k: str, v: str, mask: str, *, step: Attend) -> str:
    group = step.heads // step.kv_heads
    rows = w.node("Reshape", [q, w.constant([0, -1, step.head_dim], np.int64)])
    scores = w.node("MatMul", [rows, w.node("Transpose", [k], perm=[0, 2, 1])])
    shares = w.node("Softmax", [w.node("Add", [scores, mask])], axis=-1)
    mixed = w.node("MatMul", [shares, v])
    found: str = w.node("Reshape", [mixed, w.constant([0, -1, group * step.head_dim], np.int64)])
    return found
