"""A family's layers (`exporter.architectures.steps`) as fused ONNX operators."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.architectures.steps import (
    Activate,
    Activation,
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
from exporter.formats.onnx.graph_writer import GraphWriter
from exporter.formats.onnx.places import place_rows
from exporter.formats.onnx.plain_attention import attend_plain
from exporter.formats.onnx.positions import attention_biases, rotary_weights
from exporter.formats.onnx.scheme import Input, Scheme, whole
from exporter.quantization.weights import ModelWeights

MICROSOFT = "com.microsoft"
ACTIVATIONS: Mapping[Activation, tuple[str, str]] = {
    "gelu": ("Gelu", ""),
    "gelu_tanh": ("FastGelu", MICROSOFT),
}
"""Operator and domain of each."""


@dataclass(frozen=True)
class HeldTensor:
    """A value of the graph. `late`: inputs whose factors it is still short of. `scaled`: whether it
    is multiplied by the factor of attention's scores already."""

    name: str
    late: tuple[Input, ...] = ()
    scaled: bool = False


class Layers:
    """Adds the backbone to a graph. `hidden_states` is its one public step."""

    def __init__(self, writer: GraphWriter, weights: ModelWeights, scheme: Scheme) -> None:
        self.w, self.weights, self.scheme = writer, weights, scheme
        self.a, self.family = weights.architecture, weights.family
        self.compute = np.dtype(scheme.compute)
        self._tokens = ("", "")
        self._token_shape = ""
        self._biases: Mapping[str, str] = {}
        self._tables: Mapping[str, tuple[str, str]] = {}
        self._entered: dict[tuple[str, str], Input] = {}

    def hidden_states(self, ids: str, mask: str) -> str:
        """Return the final-norm output, (batch, sequence, hidden) in the scheme's compute dtype.

        ids, mask: (batch, sequence) int64; mask is 1 for real tokens.
        """
        w, family = self.w, self.family
        steps = list(family.entry(self.a))
        steps += [s for i in range(self.a.num_layers) for s in family.layer(self.a, i)]
        steps += family.final(self.a)
        groups = {s.mask: s.heads // s.kv_heads for s in steps if isinstance(s, Attend)}
        self._biases = attention_biases(
            w,
            mask,
            family,
            self.a,
            dtype=self.compute,
            groups=groups if self.plain_attention else None,
        )
        sizes = w.node("Shape", [ids])
        self._token_shape = w.node("Concat", [sizes, w.constant([-1], np.int64)], axis=0)
        self._tables = rotary_weights(w, family, self.a, dtype=self.compute)
        x = self.scheme.lookup(w, self.weights.table, ids, scale=self.weights.embed_scale)
        env = {"x": HeldTensor(x)}
        self._tokens = (ids, mask)
        at = 0
        while at < len(steps):
            at += self._lower(steps, at, env)
        return env["h"].name

    def _lower(self, steps: list[Step], at: int, env: dict[str, HeldTensor]) -> int:
        """Add the step at `at`, together with the next where one operator does both. Returns how
        many were added."""
        w, step = self.w, steps[at]
        following = steps[at + 1] if at + 1 < len(steps) else None
        match step:
            case Add() if isinstance(following, Norm) and following.x == step.out:
                y, x = env[step.y].name, env[step.x].name
                normed, total = self._add_norm(y, x, following.weight)
                env[step.out], env[following.out] = HeldTensor(total), HeldTensor(normed)
                return 2
            case Add() if isinstance(following, LayerNorm) and following.x == step.out:
                y, x = env[step.y].name, env[step.x].name
                env[following.out] = HeldTensor(self._add_layer_norm(y, x, following.weight))
                return 2
            case Add():
                env[step.out] = HeldTensor(w.node("Add", [env[step.x].name, env[step.y].name]))
            case Scale():
                factor = w.constant(self.weights.factor(step.factor), self.compute)
                env[step.out] = HeldTensor(w.node("Mul", [env[step.x].name, factor]))
            case LayerNorm():
                env[step.out] = HeldTensor(self._layer_norm(env[step.x].name, step.weight))
            case Place():
                ids, mask = self._tokens
                rows = self.weights.places(step).astype(self.compute)
                placed = place_rows(w, step, rows, ids=ids, mask=mask)
                env[step.out] = HeldTensor(w.node("Add", [env[step.x].name, placed]))
            case Copy():
                env[step.out] = env[step.x]
            case Norm(heads=0):
                env[step.out] = HeldTensor(self._norm(env[step.x].name, step.weight))
            case Norm():
                scale = self._score_scale(steps, at) if self.plain_attention else None
                normed = self._head_norm(env[step.x].name, step, scale=scale or 1.0)
                env[step.out] = HeldTensor(normed, scaled=scale is not None)
            case Rotate():
                rotated = self._rotate(env[step.x].name, step)
                env[step.x] = HeldTensor(rotated, scaled=env[step.x].scaled)
            case Project():
                self._project(step, env)
            case Attend():
                env[step.out] = HeldTensor(self._attend(step, env))
            case Gate():
                gate = self._activate(env[step.gate].name, step.activation)
                up = env[step.up]
                env[step.out] = HeldTensor(w.node("Mul", [gate, up.name]), up.late)
            case Activate():
                env[step.out] = HeldTensor(self._activate(env[step.x].name, step.activation))
        return 1

    def _activate(self, x: str, activation: Activation) -> str:
        if activation == "silu":  # onnxruntime makes one operator of both
            silu: str = self.w.node("Mul", [x, self.w.node("Sigmoid", [x])])
            return silu
        operator, domain = ACTIVATIONS[activation]
        made: str = self.w.node(operator, [x], domain=domain)
        return made

    @property
    def plain_attention(self) -> bool:
        """Whether attention is spelled in plain operators: in float32 on a processor they are the
        faster ones (benchmarks/peers.py); GPUs fuse MultiHeadAttention in float16."""
        if self.w.flavour.attention == "Attention":
            return False
        return self.w.flavour.attention == "plain" or self.compute == np.float32

    @staticmethod
    def _score_scale(steps: list[Step], at: int) -> float | None:
        """Return the factor of attention's scores where the norm at `at` makes its queries."""
        norm = steps[at]
        attend = next((s for s in steps[at:] if isinstance(s, Attend)), None)
        assert isinstance(norm, Norm)
        return attend.scale if attend is not None and attend.q == norm.out else None

    def _gain(self, name: str, *, scale: float = 1.0) -> str:
        gain = (self.weights.gain(name) * np.float32(scale)).astype(self.compute)
        return self.w.weight(name + ".gain", gain, reason="gain of an RMSNorm")

    def _norm(self, x: str, name: str, *, scale: float = 1.0) -> str:
        """Return RMSNorm(x) times `scale`, which is folded into the gain."""
        normed: str = self.w.node(
            "SimplifiedLayerNormalization",
            [x, self._gain(name, scale=scale)],
            axis=-1,
            epsilon=self.weights.epsilon(name),
            stash_type=1,
        )
        return normed

    def _layer_norm_weights(self, name: str) -> list[str]:
        gain, bias = (
            self.w.weight(f"{name}.{part}", values.astype(self.compute), reason="of a LayerNorm")
            for part, values in (
                ("gain", self.weights.gain(name)),
                ("bias", self.weights.bias(name)),
            )
        )
        return [gain, bias]

    def _layer_norm(self, x: str, name: str) -> str:
        normed: str = self.w.node(
            "LayerNormalization",
            [x, *self._layer_norm_weights(name)],
            axis=-1,
            epsilon=self.weights.epsilon(name),
            stash_type=1,
        )
        return normed

    def _add_layer_norm(self, x: str, residual: str, name: str) -> str:
        """Return LayerNorm(x + residual) in one operator: nothing else reads the sum."""
        normed: str = self.w.node(
            "SkipLayerNormalization",
            [x, residual, *self._layer_norm_weights(name)],
            domain=MICROSOFT,
            epsilon=self.weights.epsilon(name),
        )
        return normed

    def _head_norm(self, x: str, step: Norm, *, scale: float) -> str:
        w = self.w
        width = len(self.weights.gain(step.weight))
        split, shape = w.constant([-1, width], np.int64), self._token_shape
        if step.plain:
            # Of values: the standard Attention takes a width that it cannot read off for 0.
            split = w.constant([0, 0, step.heads, width], np.int64)
            shape = w.constant([0, 0, step.heads * width], np.int64)
        normed = self._norm(w.node("Reshape", [x, split]), step.weight, scale=scale)
        flat: str = w.node("Reshape", [normed, shape])
        return flat

    def _add_norm(self, x: str, residual: str, name: str) -> tuple[str, str]:
        """Return (norm(x + residual), x + residual) in one operator."""
        normed, _, _, total = self.w.node(
            "SkipSimplifiedLayerNormalization",
            [x, residual, self._gain(name)],
            domain=MICROSOFT,
            outputs=4,
            unused=(1, 2),
            epsilon=self.weights.epsilon(name),
        )
        return normed, total

    def _project(self, step: Project, env: dict[str, HeldTensor]) -> None:
        """Add all matrices of a site. Not merged: cutting the product apart again is a pass over
        it."""
        given = env[step.x]
        at = (given.name, step.site)
        if at not in self._entered:  # one value, read by a matrix of every layer, is rounded once
            self._entered[at] = self.scheme.enter(self.w, given.name, site=step.site)
        x = self._entered[at]
        made = [(product, self._matmul(x, product.weight)) for product in step.products]
        for product, name in made:
            if product.late_factor:
                env[product.out] = HeldTensor(name, (x,))
            else:
                # Those of queries and keys too, although norms follow: their eps is not nothing.
                found = whole(self.w, name, x, *given.late)
                if product.bias:
                    found = self._add_bias(found, product.weight)
                env[product.out] = HeldTensor(found)

    def _add_bias(self, x: str, name: str) -> str:
        bias = self.weights.bias(name).astype(self.compute)
        stored = self.w.weight(name + ".bias", bias, reason="bias of a matrix")
        added: str = self.w.node("Add", [x, stored])
        return added

    def _matmul(self, x: Input, name: str) -> str:
        def weight() -> npt.NDArray[np.float32]:
            return np.ascontiguousarray(self.weights.matrix(name).T)

        return self.scheme.matmul(self.w, x, weight, name=name)

    def _attend(self, step: Attend, env: dict[str, HeldTensor]) -> str:
        """Return (batch, sequence, heads * head_dim)."""
        w, bias = self.w, self._biases[step.mask]
        q, k, v = (env[name].name for name in (step.q, step.k, step.v))
        if w.flavour.attention == "Attention":
            standard: str = w.node(
                "Attention",
                [q, k, v, bias],
                q_num_heads=step.heads,
                kv_num_heads=step.kv_heads,
                is_causal=0,
                scale=step.scale,
            )
            return standard
        if self.plain_attention:
            if not env[step.q].scaled:
                q = w.node("Mul", [q, w.constant(step.scale, self.compute)])
            return attend_plain(w, q, k, v, bias, step=step)
        found: str = w.node(
            "MultiHeadAttention",
            [q, self._repeat(k, step), self._repeat(v, step), "", "", bias],
            domain=MICROSOFT,
            num_heads=step.heads,
            scale=step.scale,
        )
        return found

    def _rotate(self, x: str, step: Rotate) -> str:
        w = self.w
        rotated: str = w.node(
            "RotaryEmbedding",
            [x, w.constant([0], np.int64), *self._tables[step.table]],
            domain=MICROSOFT,
            num_heads=step.heads,
            interleaved=0,
        )
        return rotated

    def _repeat(self, x: str, step: Attend) -> str:
        """Repeat KV heads to the number of query heads: MultiHeadAttention wants them equal."""
        w = self.w
        group = step.heads // step.kv_heads
        if group == 1:
            return x
        heads = [x]
        if step.kv_heads > 1:
            sizes = w.constant([step.head_dim] * step.kv_heads, np.int64)
            heads = list(w.node("Split", [x, sizes], outputs=step.kv_heads, axis=-1))
        repeated: str = w.node("Concat", [h for h in heads for _ in range(group)], axis=-1)
        return repeated
