"""The backbone in torch, one layer's weights in memory at a time, every intermediate watched.

The same function as the built graph and as transformers' model (a test compares all three), written
out so that ranges, matrix inputs and rescaled or rounded weights can be had at every step.
"""

import math
from collections.abc import Callable, Container, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import Checkpoint
from exporter.errors import MissingDependency
from exporter.quantization.inputs import batch_by_length, table_rows, token_rows
from exporter.quantization.weights import ModelWeights

Watch = Callable[[int, str, Any], None]
"""Called with the layer, the name of the site and its values, rows of padding left out."""
Alter = Callable[[int, str, Any], Any]
"""Called with the layer, the name of a matrix' input and its values; returns what is multiplied."""
Weights = Mapping[str, Any]
Round = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

MASKED = -30000.0  # twice that is still a finite fp16
PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
               "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip
INPUTS = {"attention_in": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
          "attended": ("self_attn.o_proj",), "mlp_in": ("mlp.gate_proj", "mlp.up_proj"),
          "product": ("mlp.down_proj",)}  # fmt: skip
"""The sites that are inputs of matrices, and which."""
NORMS = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
         "post_feedforward_layernorm", "self_attn.q_norm", "self_attn.k_norm")  # fmt: skip


@dataclass
class Batch:
    """Texts of similar length. mask: (b, s) bool; states: (b, s, hidden), replaced layer by layer;
    biases: the additive mask of each kind of layer, (b, 1, s, s)."""

    indices: list[int]
    mask: Any
    states: Any
    biases: dict[str, Any]


def torch_module() -> Any:
    """Return torch. Raises MissingDependency."""
    try:
        import torch
    except ImportError:
        raise MissingDependency("torch", extra="torch") from None
    return torch


def run_backbone(
    checkpoint: Checkpoint, texts: Sequence[str], *, weights: ModelWeights | None = None,
    dtype: str = "float32", watch: Watch | None = None,
    on_layer: Callable[[int], None] | None = None,
) -> Any:  # fmt: skip
    """Return the mean-pooled output of the final norm, (n, hidden) float32 numpy, padding left out.

    texts: as the tokenizer gets them, prompts applied; cut at the checkpoint's limit. dtype
    float16 rounds every weight and intermediate, the squares of norms too: the strictest runtime.
    """
    torch = torch_module()
    source = weights or ModelWeights(checkpoint)
    kind = getattr(torch, dtype)
    with torch.inference_mode():
        batches = embed(source, texts, dtype=kind)
        for i in range(source.architecture.num_layers):
            layer = layer_weights(source, i, dtype=kind)
            for batch in batches:
                run_layer(source, i, layer, batch, watch=watch)
            if on_layer is not None:
                on_layer(i)
        return pooled_states(source, batches, count=len(texts), watch=watch)


def embed(
    source: ModelWeights, texts: Sequence[str], *, dtype: Any, round_rows: Round | None = None
) -> list[Batch]:
    """Tokenize and look up. Returns batches of at most 2,048 padded tokens, states in `dtype`.

    `round_rows` turns rows of the table into what a quantized table holds.
    """
    torch = torch_module()
    checkpoint, a = source.checkpoint, source.architecture
    rows = token_rows(checkpoint, texts)
    used = sorted({i for row in rows for i in row})
    at = {token: place for place, token in enumerate(used)}
    found = table_rows(checkpoint, used)
    if round_rows is not None:
        found = round_rows(found)
    with np.errstate(over="ignore"):  # what overflows is refused by name afterwards
        table = found * np.float32(source.embed_scale)
    table = torch.from_numpy(table).to(dtype)
    batches = []
    for picked in batch_by_length(rows):
        width = max(len(rows[i]) for i in picked)
        ids = torch.zeros((len(picked), width), dtype=torch.int64)
        mask = torch.zeros((len(picked), width), dtype=torch.bool)
        for n, i in enumerate(picked):
            ids[n, : len(rows[i])] = torch.tensor([at[t] for t in rows[i]])
            mask[n, : len(rows[i])] = True
        distance = (torch.arange(width)[:, None] - torch.arange(width)[None, :]).abs()
        biases: dict[str, Any] = {}
        for kind in set(a.layer_types):
            far = distance > (a.sliding_window // 2 if kind == "sliding_attention" else width)
            biases[kind] = (far[None, None] * MASKED + (~mask)[:, None, None] * MASKED).to(dtype)
        batches.append(Batch(picked, mask, table[ids], biases))
    return batches


def layer_weights(source: ModelWeights, layer: int, *, dtype: Any) -> dict[str, Any]:
    """Return the tensors of one layer by short name, norms as gains."""
    torch = torch_module()
    at = f"layers.{layer}."
    found = {n: source.matrix(at + n) for n in PROJECTIONS} | {
        n: source.gain(at + n) for n in NORMS
    }
    return {name: torch.from_numpy(values).to(dtype) for name, values in found.items()}


def run_layer(
    source: ModelWeights, layer: int, w: Weights, batch: Batch, *, watch: Watch | None = None,
    watched: Container[str] | None = None, alter: Alter | None = None,
) -> None:  # fmt: skip
    """Replace `batch.states` by the output of one layer. w: as `layer_weights` returns it.

    `watched`: the sites that `watch` is called for, None for all: taking out the padding of those
    it does not look at took an eighth of the time. `alter` may round the inputs of the matrices:
    attention_in, attended, mlp_in and product.
    """
    running = layer_steps(source, layer, w, batch)
    answer = None
    while True:
        try:
            site, held = running.send(answer)
        except StopIteration:
            return
        values = held[0]
        if watch is not None and (watched is None or site in watched):
            watch(layer, site, values[batch.mask])
        answer = alter(layer, site, values) if alter is not None and site in INPUTS else None


def layer_steps(
    source: ModelWeights, layer: int, w: Weights, batch: Batch
) -> Generator[tuple[str, list[Any]], Any, None]:
    """Run one layer step by step: yields each site's name and, alone in a list, its values, (batch,
    sequence, ...).

    What is sent back, unless None, goes on in place of the values, and a driver that will send may
    take them out of the list: many batches stand at one step, and each would hold both. A matrix of
    `w` is looked up when it is multiplied, after its site was yielded: whoever drives may put
    another in its place. Replaces `batch.states` at the end.
    """
    torch = torch_module()
    a, at = source.architecture, f"layers.{layer}."

    def norm(x: Any, name: str) -> Any:
        return rms_norm(x, w[name], epsilon=source.epsilon(at + name))

    def see(site: str, values: Any) -> Generator[tuple[str, list[Any]], Any, Any]:
        held = [values]
        del values
        answer = yield site, held
        return held[0] if answer is None else answer

    x = yield from see("residual", batch.states)
    batch.states = None  # many batches stand at one step: what is replaced anyway is not kept
    h = yield from see("attention_in", norm(x, "input_layernorm"))
    shape = (*x.shape[:2], -1, a.head_dim)
    q = yield from see("query", (h @ w["self_attn.q_proj"].T).view(shape))
    k = yield from see("key", (h @ w["self_attn.k_proj"].T).view(shape))
    v = yield from see("value", (h @ w["self_attn.v_proj"].T).view(shape))
    cos, sin = rotary(source, layer, x.shape[1], dtype=x.dtype)
    q = rotate(norm(q, "self_attn.q_norm"), cos, sin).transpose(1, 2)
    k = rotate(norm(k, "self_attn.k_norm"), cos, sin).transpose(1, 2)
    repeats = a.num_heads // a.num_kv_heads
    k, v = (t.repeat_interleave(repeats, dim=1) for t in (k, v.transpose(1, 2)))
    scores = (q * (1 / math.sqrt(a.query_pre_attn_scalar))) @ k.transpose(2, 3)
    yield from see("scores", scores.transpose(1, 2))
    weights = torch.softmax((scores + batch.biases[a.layer_types[layer]]).float(), dim=-1)
    mixed = [(weights.to(x.dtype) @ v).transpose(1, 2).flatten(2)]
    del h, q, k, v, scores, weights
    attended = yield from see("attended", mixed.pop())
    out = yield from see("attention_out", attended @ w["self_attn.o_proj"].T)
    normed = yield from see("post_norm", norm(out, "post_attention_layernorm"))
    x = yield from see("residual", x + normed)
    h = yield from see("mlp_in", norm(x, "pre_feedforward_layernorm"))
    gate = yield from see("gate", h @ w["mlp.gate_proj"].T)
    up = yield from see("up", h @ w["mlp.up_proj"].T)
    fed = [torch.nn.functional.gelu(gate, approximate="tanh") * up]
    del h, gate, up, attended, out, normed
    product = yield from see("product", fed.pop())
    out = yield from see("mlp_out", product @ w["mlp.down_proj"].T)
    normed = yield from see("post_norm", norm(out, "post_feedforward_layernorm"))
    batch.states = yield from see("residual", x + normed)


def rms_norm(x: Any, gain: Any, *, epsilon: float) -> Any:
    """Return x / rms(x) * gain, in the dtype of x throughout."""
    mean = (x * x).mean(dim=-1, keepdim=True)
    return x * (mean + epsilon).float().rsqrt().to(x.dtype) * gain


def rotary(source: ModelWeights, layer: int, length: int, *, dtype: Any) -> tuple[Any, Any]:
    """Return cos and sin, each (length, 1, head_dim / 2)."""
    torch = torch_module()
    a = source.architecture
    full = a.layer_types[layer] == "full_attention"
    theta = a.rope_theta if full else a.rope_local_theta
    exponents = torch.arange(0, a.head_dim, 2, dtype=torch.float32) / a.head_dim
    angles = torch.arange(length, dtype=torch.float32)[:, None] / (theta**exponents)[None]
    return angles.cos()[:, None].to(dtype), angles.sin()[:, None].to(dtype)


def rotate(x: Any, cos: Any, sin: Any) -> Any:
    """Rotate each half of the last axis against the other. x: (b, s, heads, head_dim)."""
    first, second = x.chunk(2, dim=-1)
    return torch_module().cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def pooled_states(
    source: ModelWeights, batches: Sequence[Batch], *, count: int, watch: Watch | None = None
) -> Any:
    """Return the mean over each text's final-norm rows, (count, hidden) float32 numpy.

    `watch` sees those rows as site `final` of the layer after the last.
    """
    torch = torch_module()
    made = np.empty((count, source.architecture.hidden_size), np.float32)
    for batch in batches:
        gain = torch.from_numpy(source.gain("norm")).to(batch.states.dtype)
        states = rms_norm(batch.states, gain, epsilon=source.epsilon("norm")).float()
        if watch is not None:
            watch(source.architecture.num_layers, "final", states[batch.mask])
        mask = batch.mask[..., None]
        made[batch.indices] = (torch.where(mask, states, 0).sum(1) / mask.sum(1)).numpy()
    return made
