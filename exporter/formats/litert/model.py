"""A family's steps as a torch module that LiteRT's converter takes.

litert-torch 0.10 computes wrong attention scores, without a word, where keys are repeated for the
queries that share them (`repeat_interleave` of a transposed key, EmbeddingGemma's one key head for
three query heads): its broadcast and the transpose of the product are swapped. Seen on
EmbeddingGemma's layers in float32, where the vector's cosine is 0.99 instead of 1; a likely reason
of https://github.com/google-ai-edge/litert-torch/issues/869. Here queries that share a key are put
below each other instead, so that nothing is repeated.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from exporter.architectures.rotary import inverse_frequencies
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
)
from exporter.quantization.functions import activate, torch_module
from exporter.quantization.pooling import token_weights
from exporter.quantization.rotate import RotatedWeights, hadamard
from exporter.quantization.weights import ModelWeights

MASKED = -1e9
SHORTEST = 1e-12  # the floor of a length that is divided by


def litert_module(weights: ModelWeights, *, dim: int) -> Any:
    """Return the whole pipeline as a torch module. Inputs input_ids, attention_mask: (1, sequence)
    int32, 1 for real tokens; returns (1, dim) float32 of length 1.

    What its `ExactRotation` and `ExactHead` multiply stays float32: `quantize` knows them by name.
    """
    torch = torch_module()
    family, architecture = weights.family, weights.architecture
    steps = list(family.entry(architecture))
    steps += [s for i in range(architecture.num_layers) for s in family.layer(architecture, i)]
    steps += family.final(architecture)
    rotations = (
        {site.name: weights.runtime_block(site.name) for site in weights.sites}
        if isinstance(weights, RotatedWeights)
        else None
    )

    class ExactRotation(torch.nn.Module):  # type: ignore[misc, name-defined]
        """Each run of `block` multiplied by a Hadamard matrix."""

        def __init__(self, block: int) -> None:
            super().__init__()
            self.block = block
            self.register_buffer("matrix", torch.from_numpy(hadamard(block)))

        def forward(self, x: Any) -> Any:
            runs = x.reshape(1, -1, self.block)
            return torch.nn.functional.linear(runs, self.matrix).reshape(x.shape)

    class ExactHead(torch.nn.Module):  # type: ignore[misc, name-defined]
        """All Dense as one matrix."""

        def __init__(self, head: Any) -> None:
            super().__init__()
            self.register_buffer("matrix", torch.from_numpy(np.ascontiguousarray(head.T)))

        def forward(self, x: Any) -> Any:
            return torch.nn.functional.linear(x, self.matrix)

    class Pipeline(torch.nn.Module):  # type: ignore[misc, name-defined]
        """Held in one class so that torch is imported when one is made."""

        def __init__(self) -> None:
            super().__init__()
            self._keep("table", np.concatenate(list(weights.table.blocks())))
            for step in steps:
                if isinstance(step, Norm | LayerNorm):
                    self._keep(step.weight, weights.gain(step.weight))
                if isinstance(step, LayerNorm):
                    self._keep(step.weight + ".bias", weights.bias(step.weight))
                elif isinstance(step, Place):
                    self._keep(step.weight, weights.places(step))
                elif isinstance(step, Project):
                    for product in step.products:
                        self._keep(product.weight, weights.matrix(product.weight))
                        if product.bias:
                            self._keep(product.weight + ".bias", weights.bias(product.weight))
            head = weights.head(dim=dim)
            self.head = None if head is None else ExactHead(head)
            blocks = {} if rotations is None else rotations
            self.turns = torch.nn.ModuleDict(
                {site: ExactRotation(block) for site, block in blocks.items() if block > 1}
            )

        def _keep(self, name: str, values: Any) -> None:
            held = torch.from_numpy(np.ascontiguousarray(values))
            self.register_buffer(_plain(name), held)

        def _of(self, name: str) -> Any:
            return getattr(self, _plain(name))

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            x = torch.nn.functional.embedding(input_ids, self.table) * weights.embed_scale
            length = input_ids.shape[1]
            real = attention_mask.float()
            env: dict[str, Any] = {"x": x}
            biases = _biases(torch, weights, real, length)
            tables = _rotary(torch, weights, length)
            for step in steps:
                self._run(step, env, biases, tables)
            rows = token_weights(real, weights.checkpoint.pooling)[..., None]
            pooled = (env["h"] * rows).sum(1) / rows.sum(1).clamp_min(1.0)
            if self.head is not None:
                pooled = self.head(pooled)
            elif dim < pooled.shape[1]:
                pooled = pooled[:, :dim]
            if not weights.checkpoint.normalize:
                return pooled
            length_of = (pooled * pooled).sum(1, keepdim=True).sqrt()
            return pooled / length_of.clamp_min(SHORTEST)

        def _run(
            self,
            step: Step,
            env: dict[str, Any],
            biases: Mapping[str, Any],
            tables: Mapping[str, tuple[Any, Any]],
        ) -> None:
            match step:
                case Norm():
                    value = env[step.x]
                    mean = (value * value).mean(-1, keepdim=True)
                    scaled = value * (mean + weights.epsilon(step.weight)).rsqrt()
                    env[step.out] = scaled * self._of(step.weight)
                case Project():
                    x = env[step.x]
                    if step.site in self.turns:
                        x = self.turns[step.site](x)
                    for product in step.products:
                        bias = self._of(product.weight + ".bias") if product.bias else None
                        made = torch.nn.functional.linear(x, self._of(product.weight), bias)
                        if product.heads:
                            made = made.reshape(1, made.shape[1], product.heads, -1)
                        env[product.out] = made
                case Rotate():
                    cos, sin = tables[step.table]
                    first, second = env[step.x].chunk(2, dim=-1)
                    turned = (first * cos - second * sin, second * cos + first * sin)
                    env[step.x] = torch.cat(turned, dim=-1)
                case Attend():
                    env[step.out] = _attend(torch, step, env, biases[step.mask])
                case Gate():
                    env[step.out] = activate(env[step.gate], step.activation) * env[step.up]
                case Activate():
                    env[step.out] = activate(env[step.x], step.activation)
                case LayerNorm():
                    value = env[step.x]
                    centred = value - value.mean(-1, keepdim=True)
                    mean = (centred * centred).mean(-1, keepdim=True)
                    scaled = centred * (mean + weights.epsilon(step.weight)).rsqrt()
                    bias = self._of(step.weight + ".bias")
                    env[step.out] = scaled * self._of(step.weight) + bias
                case Place():
                    placed = self._of(step.weight)
                    env[step.out] = env[step.x] + placed[: env[step.x].shape[1]]
                case Copy():
                    env[step.out] = env[step.x]
                case Scale():
                    env[step.out] = env[step.x] * weights.factor(step.factor)
                case Add():
                    env[step.out] = env[step.x] + env[step.y]

    return Pipeline().eval()


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _attend(torch: Any, step: Attend, env: Mapping[str, Any], bias: Any) -> Any:
    """Attend with the queries of each key head below each other: (1, kv, group * sequence, d)."""
    q, k, v = (env[name] for name in (step.q, step.k, step.v))
    length, group = q.shape[1], step.heads // step.kv_heads
    q = (q * step.scale).transpose(1, 2)
    q = q.reshape(1, step.kv_heads, group * length, step.head_dim)
    scores = q @ k.transpose(1, 2).transpose(2, 3)
    scores = scores.reshape(1, step.heads, length, length) + bias
    weights = torch.softmax(scores, dim=-1).reshape(1, step.kv_heads, group * length, length)
    mixed = (weights @ v.transpose(1, 2)).reshape(1, step.heads, length, step.head_dim)
    return mixed.transpose(1, 2).reshape(1, length, step.heads * step.head_dim)


def _biases(torch: Any, weights: ModelWeights, real: Any, length: int) -> dict[str, Any]:
    """Return what is added to scores, (1, 1, sequence, sequence), by the name of the mask."""
    places = torch.arange(length)
    distance = (places[:, None] - places[None, :]).abs()
    padding = ((1 - real) * MASKED)[:, None, None, :]
    if weights.family.causal:
        behind = (places[None, :] > places[:, None]).float() * MASKED
        padding = padding + behind[None, None]
    made = {}
    for name, reach in weights.family.reach(weights.architecture).items():
        made[name] = padding.expand(1, 1, length, length)
        if reach is not None:
            made[name] = padding + ((distance > reach).float() * MASKED)[None, None]
    return made


def _rotary(torch: Any, weights: ModelWeights, length: int) -> dict[str, tuple[Any, Any]]:
    """Return cos and sin, (sequence, 1, half a head) each, by the name of the table."""
    places = torch.arange(length, dtype=torch.float32)[:, None]
    made = {}
    for name, theta in weights.family.rotary(weights.architecture).items():
        width = weights.family.rotary_dim(weights.architecture, name)
        angles = places * torch.from_numpy(inverse_frequencies(theta, width))[None]
        made[name] = (angles.cos()[:, None], angles.sin()[:, None])
    return made
