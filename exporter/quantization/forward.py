"""The backbone in torch, one layer's weights in memory at a time, every intermediate watched.

The same function as the built graph and as transformers' model (a test compares all three), written
out so that ranges, matrix inputs and rescaled or rounded weights can be had at every step.
"""

from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from exporter.architectures.rotary import rotary_angles
from exporter.architectures.steps import (
    Activate,
    Add,
    Attend,
    Copy,
    Gate,
    LayerNorm,
    Norm,
    Place,
    Project,
    Rotate,
    Scale,
    Step,
    last_reads,
    writes,
)
from exporter.checkpoint.contents import Checkpoint
from exporter.quantization.batches import Batch, embed
from exporter.quantization.functions import (
    Weights,
    activate,
    layer_norm,
    rms_norm,
    rotate,
    torch_module,
)
from exporter.quantization.pooling import token_weights
from exporter.quantization.step_weights import layer_weights, step_weights
from exporter.quantization.weights import ModelWeights

Watch = Callable[[int, str, Any], None]
"""Called with the layer, the name of the site and its values, rows of padding left out."""
Alter = Callable[[int, str, Any], Any]
"""Called with the layer, the name of a matrix' input and its values; returns what is multiplied."""
RESIDUAL = "residual"
"""The site at which each layer begins."""


def run_backbone(
    checkpoint: Checkpoint,
    texts: Sequence[str],
    *,
    weights: ModelWeights | None = None,
    dtype: str = "float32",
    watch: Watch | None = None,
    on_layer: Callable[[int], None] | None = None,
) -> Any:
    """Return the pooled states behind the last layer, (n, hidden) float32 numpy, padding left out.

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


def run_layer(
    source: ModelWeights,
    layer: int,
    w: Weights,
    batch: Batch,
    *,
    watch: Watch | None = None,
    watched: Container[str] | None = None,
    alter: Alter | None = None,
) -> None:
    """Replace `batch.states` by the output of one layer. w: as `layer_weights` returns it.

    `watched`: the sites that `watch` is called for, None for all: taking out the padding of those
    it does not look at took an eighth of the time. `alter` may round the inputs of the matrices:
    `Family.sites`.
    """
    inputs = {site.name for site in source.family.sites(source.architecture)}
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
        answer = alter(layer, site, values) if alter is not None and site in inputs else None


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
    steps = source.family.layer(source.architecture, layer)
    env: dict[str, Any] = {"x": (yield from _see(RESIDUAL, [batch.states])), **batch.given}
    batch.states = None  # many batches stand at one step: what is replaced anyway is not kept
    for step, dead in zip(steps, last_reads(steps), strict=True):
        if isinstance(step, Project):
            for product in step.products:
                values = env[step.x] @ w[product.weight].T
                if product.bias:
                    values += w[product.weight + ".bias"]
                if product.heads:
                    values = values.view(*values.shape[:2], product.heads, -1)
                held = [values]
                del values
                if product is step.products[-1]:
                    _drop(env, dead)
                env[product.out] = yield from _see(product.site, held)
            continue
        held = [(yield from _run(source, step, w, env, batch))]
        _drop(env, dead)
        out = writes(step)[0]
        site = "" if isinstance(step, Rotate | Place) else step.site
        env[out] = yield from _see(site, held)
    batch.states = env["x"]


Seen = Generator[tuple[str, list[Any]], Any, Any]


def _see(site: str, held: list[Any]) -> Seen:
    """Yield a value with its site, alone in `held`, and return what goes on in its place."""
    if not site:
        return held[0]
    answer = yield site, held
    return held[0] if answer is None else answer


def _drop(env: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        env.pop(name, None)


def _run(
    source: ModelWeights, step: Step, w: Weights, env: Mapping[str, Any], batch: Batch
) -> Seen:
    """Return what a step makes."""
    match step:
        case Norm():
            return rms_norm(env[step.x], w[step.weight], epsilon=source.epsilon(step.weight))
        case LayerNorm():
            return layer_norm(env[step.x], w, step.weight, epsilon=source.epsilon(step.weight))
        case Copy():
            return env[step.x]
        case Scale():
            return env[step.x] * w[step.factor]
        case Rotate():
            x = env[step.x]
            cos, sin = rotary(source, step.table, x.shape[1], dtype=x.dtype)
            return rotate(x, cos, sin)
        case Attend():
            return (yield from _attend(step, env, batch.biases[step.mask]))
        case Gate():
            return activate(env[step.gate], step.activation) * env[step.up]
        case Activate():
            return activate(env[step.x], step.activation)
        case Add():
            return env[step.x] + env[step.y]
        case Project() | Place():
            raise AssertionError("run where matrices are, and where texts enter")


def _attend(step: Attend, env: Mapping[str, Any], bias: Any) -> Seen:
    torch = torch_module()
    q, k, v = (env[name].transpose(1, 2) for name in (step.q, step.k, step.v))
    repeats = step.heads // step.kv_heads
    k, v = (values.repeat_interleave(repeats, dim=1) for values in (k, v))
    scores = (q * step.scale) @ k.transpose(2, 3)
    yield from _see(step.scores_site, [scores.transpose(1, 2)])
    weights = torch.softmax((scores + bias).float(), dim=-1)
    return (weights.to(q.dtype) @ v).transpose(1, 2).flatten(2)


def rotary(source: ModelWeights, table: str, length: int, *, dtype: Any) -> tuple[Any, Any]:
    """Return cos and sin of a table of `Family.rotary`, each (length, 1, head_dim / 2)."""
    torch = torch_module()
    theta = source.family.rotary(source.architecture)[table]
    width = source.family.rotary_dim(source.architecture, table)
    angles = torch.from_numpy(rotary_angles(theta, width=width, positions=length))
    return angles.cos()[:, None].to(dtype), angles.sin()[:, None].to(dtype)


def pooled_states(
    source: ModelWeights, batches: Sequence[Batch], *, count: int, watch: Watch | None = None
) -> Any:
    """Return what each text's rows become by the checkpoint's pooling behind the family's final
    steps, (count, hidden) float32 numpy.

    `watch` sees those rows as site `final` of the layer after the last.
    """
    made = np.empty((count, source.architecture.hidden_size), np.float32)
    steps = source.family.final(source.architecture)
    for batch in batches:
        w = step_weights(source, steps, dtype=batch.states.dtype)
        env: dict[str, Any] = {"x": batch.states}
        for step in steps:
            env[writes(step)[0]] = _alone(_run(source, step, w, env, batch))
        states = env["h"].float()
        if watch is not None:
            watch(source.architecture.num_layers, "final", states[batch.mask])
        shares = token_weights(batch.mask, source.checkpoint.pooling)[..., None]
        rows = torch_module().where(batch.mask[..., None], states, 0)
        made[batch.indices] = ((rows * shares).sum(1) / shares.sum(1)).numpy()
    return made


def _alone(running: Seen) -> Any:
    """Return what a step makes that nobody watches."""
    try:
        while True:
            next(running)
    except StopIteration as done:
        return done.value
