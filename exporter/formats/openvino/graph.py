"""A family's layers (`exporter.architectures.steps`) and modules in OpenVINO's own operators.

Not read from an ONNX file: OpenVINO 2026.4's reader knows none of the fused operators that this
tool's ONNX graphs are made of. Written so that its CPU plugin finds what it fuses: RMSNorm, rotary
positions, attention, and FakeQuantize around int8 matrices (`exporter.formats.openvino.rows`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
from exporter.formats.openvino.library import openvino_module
from exporter.formats.openvino.positions import (
    attention_biases,
    place_rows,
    rotary_tables,
    token_weights,
)
from exporter.formats.openvino.rows import TokenRows, bits_per_weight, product, rounded_rows, whole
from exporter.manifest import TensorRecord
from exporter.progress import Progress
from exporter.quantization.int8 import Int8Model
from exporter.quantization.table import table_codes
from exporter.quantization.weights import ModelWeights

GELU: Mapping[Activation, str] = {"gelu": "erf", "gelu_tanh": "tanh"}
"""OpenVINO's word for each GELU."""
SHORTEST = 1e-12  # the floor of a length that torch.nn.functional.normalize divides by


@dataclass(frozen=True)
class HeldNode:
    """A value of the graph. `by_head`: laid out (batch, heads, sequence, head_dim). `late`: rows
    whose factors it is still short of."""

    node: Any
    by_head: bool = False
    late: tuple[TokenRows, ...] = ()


class Graph:
    """Builds the model. `int8`: the matrices in 8 bits, `weights` being rotated as they are; None
    keeps everything in float32. `records` tells what is stored."""

    def __init__(
        self,
        weights: ModelWeights,
        *,
        int8: Int8Model | None = None,
        on_written: Progress = lambda done: None,
    ) -> None:
        openvino_module()
        from openvino import opset15

        self.ops: Any = opset15
        self.weights, self.int8 = weights, int8
        self.a, self.family = weights.architecture, weights.family
        self._tokens: tuple[Any, Any] = (None, None)
        self._biases: Mapping[str, Any] = {}
        self._tables: Mapping[str, tuple[Any, Any]] = {}
        self._entered: dict[tuple[int, str], tuple[HeldNode, TokenRows]] = {}
        self.records: list[TensorRecord] = []
        self._written = on_written

    def model(self, *, dim: int) -> Any:
        """Return the openvino.Model.

        Inputs input_ids, attention_mask: (batch, sequence) int64. Outputs last_hidden_state,
        (batch, sequence, dim), token states with Dense applied, and sentence_embedding,
        (batch, dim), unit length; float32.
        """
        ops = self.ops
        ids, mask = (
            ops.parameter([-1, -1], np.int64, name=name) for name in ("input_ids", "attention_mask")
        )
        for node in (ids, mask):
            node.output(0).set_names({node.friendly_name})
        states = self._head(self._hidden_states(ids, mask), dim=dim)
        vectors = self._pool(states, mask)
        for node, name in ((states, "last_hidden_state"), (vectors, "sentence_embedding")):
            node.output(0).set_names({name})
        made = openvino_module().Model([states, vectors], [ids, mask], "lawvault")
        named = {record.name for record in self.records} | {"input_ids", "attention_mask"}
        # Names that OpenVINO gives count every node of the process: the same model would get
        # other bytes.
        for number, node in enumerate(made.get_ordered_ops()):
            if node.friendly_name not in named:
                node.friendly_name = f"{node.get_type_name()}_{number}"
        return made

    def _constant(
        self, name: str, values: npt.NDArray[Any], *, bits: float = 0.0, reason: str = ""
    ) -> Any:
        self.records.append(
            TensorRecord(
                name=name,
                dtype=str(values.dtype),
                shape=values.shape,
                bits_per_weight=round(bits or 8.0 * values.itemsize, 3),
                reason=reason,
            )
        )
        self._written(values.size)
        return self.ops.constant(values, name=name)

    def _numbers(self, values: Any, dtype: Any = np.int64) -> Any:
        return self.ops.constant(np.asarray(values, dtype))

    def _hidden_states(self, ids: Any, mask: Any) -> Any:
        a, family = self.a, self.family
        self._biases = attention_biases(mask, family, a)
        self._tables = rotary_tables(mask, family, a, store=self._constant)
        env = {"x": HeldNode(self._lookup(ids))}
        self._tokens = (ids, mask)
        for step in family.entry(a):
            self._lower(step, env)
        for i in range(a.num_layers):
            for step in family.layer(a, i):
                self._lower(step, env)
        for step in family.final(a):
            self._lower(step, env)
        return env["h"].node

    def _lower(self, step: Step, env: dict[str, HeldNode]) -> None:
        ops = self.ops
        match step:
            case Add():
                env[step.out] = HeldNode(ops.add(env[step.x].node, env[step.y].node))
            case Scale():
                factor = self._numbers(self.weights.factor(step.factor), np.float32)
                env[step.out] = HeldNode(ops.multiply(env[step.x].node, factor))
            case LayerNorm():
                env[step.out] = HeldNode(self._layer_norm(env[step.x].node, step.weight))
            case Place():
                stored = self._constant(
                    step.weight,
                    self.weights.places(step),
                    reason="positions, the row of every text added",
                )
                placed = place_rows(step, stored, *self._tokens)
                env[step.out] = HeldNode(ops.add(env[step.x].node, placed))
            case Copy():
                env[step.out] = env[step.x]
            case Norm(heads=0):
                env[step.out] = HeldNode(self._norm(env[step.x].node, step.weight))
            case Norm():
                env[step.out] = HeldNode(
                    self._heads(env[step.x].node, step.heads, norm=step.weight), by_head=True
                )
            case Rotate():
                env[step.x] = HeldNode(
                    self._rotate(self._by_head(env[step.x], step.heads), step), True
                )
            case Project():
                self._project(step, env)
            case Attend():
                env[step.out] = HeldNode(self._attend(step, env))
            case Gate():
                up = env[step.up]
                gated = self._activate(env[step.gate].node, step.activation)
                env[step.out] = HeldNode(ops.multiply(gated, up.node), late=up.late)
            case Activate():
                env[step.out] = HeldNode(self._activate(env[step.x].node, step.activation))

    def _activate(self, x: Any, activation: Activation) -> Any:
        if activation == "silu":
            return self.ops.swish(x)
        return self.ops.gelu(x, GELU[activation])

    def _lookup(self, ids: Any) -> Any:
        ops, weights = self.ops, self.weights
        scale = np.float32(weights.embed_scale)
        axis = self._numbers(0)
        if self.int8 is None:
            table = np.concatenate([*weights.table.blocks()])
            rows = ops.gather(self._constant("embed_tokens", table), ids, axis)
            return ops.multiply(rows, self._numbers(scale, np.float32))
        codes, found, unit = table_codes(weights.table)
        width, parts = codes.shape[1], found.shape[1]
        block = width // parts
        stored = self._constant("embed_tokens", codes, bits=8 + 16 / block)
        reason = f"scale of {block} table weights"
        scales = self._constant("embed_tokens_scale", found, reason=reason)
        values = ops.convert(ops.gather(stored, ids, axis), "f32")
        split = ops.reshape(values, self._numbers([0, 0, parts, block]), special_zero=True)
        scaling = ops.convert(ops.gather(scales, ids, axis), "f32")
        scaling = ops.multiply(scaling, self._numbers(unit * scale, np.float32))
        scaled = ops.multiply(split, ops.unsqueeze(scaling, self._numbers([-1])))
        return ops.reshape(scaled, self._numbers([0, 0, width]), special_zero=True)

    def _norm(self, x: Any, name: str) -> Any:
        ops = self.ops
        squares = ops.power(x, self._numbers(2.0, np.float32))
        mean = ops.reduce_mean(squares, self._numbers([-1]), keep_dims=True)
        root = ops.sqrt(ops.add(mean, self._numbers(self.weights.epsilon(name), np.float32)))
        gain = self._constant(name + ".gain", self.weights.gain(name), reason="gain of an RMSNorm")
        inverse = ops.divide(self._numbers(1.0, np.float32), root)
        return ops.multiply(ops.multiply(x, inverse), gain)

    def _layer_norm(self, x: Any, name: str) -> Any:
        ops, weights = self.ops, self.weights
        normed = ops.mvn(x, self._numbers([-1]), True, weights.epsilon(name), "inside_sqrt")
        gain, bias = (
            self._constant(f"{name}.{part}", values, reason="of a LayerNorm")
            for part, values in (("gain", weights.gain(name)), ("bias", weights.bias(name)))
        )
        return ops.add(ops.multiply(normed, gain), bias)

    def _attend(self, step: Attend, env: dict[str, HeldNode]) -> Any:
        """Return (batch, sequence, heads * head_dim)."""
        ops = self.ops
        q = self._by_head(env[step.q], step.heads)
        k, v = (self._by_head(env[name], step.kv_heads) for name in (step.k, step.v))
        k, v = self._repeat(k, step), self._repeat(v, step)
        scale = self._numbers(step.scale, np.float32)
        bias = self._biases[step.mask]
        attended = ops.scaled_dot_product_attention(q, k, v, bias, scale, causal=False)
        merged = ops.transpose(attended, self._numbers([0, 2, 1, 3]))
        shape = self._numbers([0, 0, step.heads * step.head_dim])
        return ops.reshape(merged, shape, special_zero=True)

    def _by_head(self, x: HeldNode, heads: int) -> Any:
        return x.node if x.by_head else self._heads(x.node, heads)

    def _heads(self, x: Any, heads: int, *, norm: str | None = None) -> Any:
        """Return (batch, heads, sequence, head_dim), each head's rows normalized by `norm`."""
        ops = self.ops
        shape = self._numbers([0, 0, heads, -1])
        split = ops.reshape(x, shape, special_zero=True)
        if norm is not None:
            split = self._norm(split, norm)
        return ops.transpose(split, self._numbers([0, 2, 1, 3]))

    def _rotate(self, x: Any, step: Rotate) -> Any:
        ops, half = self.ops, self.family.rotary_dim(self.a, step.table) // 2
        cos, sin = self._tables[step.table]
        # Spelled as the CPU plugin's pattern wants it: a split along axis -1 is not fused.
        first, second = (
            ops.slice(x, *(self._numbers([n]) for n in (start, start + half, 1, 3)))
            for start in (0, half)
        )
        turned = ops.multiply(second, self._numbers(-1.0, np.float32))
        halves = ops.concat([turned, first], -1)
        return ops.add(ops.multiply(x, cos), ops.multiply(halves, sin))

    def _repeat(self, x: Any, step: Attend) -> Any:
        """Repeat KV heads to the number of query heads."""
        group = step.heads // step.kv_heads
        if group == 1:
            return x
        order = np.repeat(np.arange(step.kv_heads), group)
        return self.ops.gather(x, self._numbers(order), self._numbers(1))

    def _enter(self, x: Any, *, site: str) -> TokenRows:
        """Return what all matrices that read `x` are multiplied with."""
        if self.int8 is None:
            return TokenRows(x)
        return rounded_rows(x, block=self.int8.weights.runtime_block(site))

    def _project(self, step: Project, env: dict[str, HeldNode]) -> None:
        """Add all matrices of a site."""
        given = env[step.x]
        at = (id(given), step.site)
        if at not in self._entered:  # one value, read by a matrix of every layer, is rounded once
            self._entered[at] = given, self._enter(given.node, site=step.site)
        rows = self._entered[at][1]
        made = [(product, self._product(rows, product.weight)) for product in step.products]
        for found, node in made:
            if found.late_factor:
                env[found.out] = HeldNode(node, late=(rows,))
            else:
                # Queries and keys, too, though norms follow: without their factor the norms' eps
                # moved what comes out of attention by 1e-4 on the real model, and codes with it.
                made_whole = whole(node, rows, *given.late)
                if found.bias:
                    bias = self._constant(
                        found.weight + ".bias",
                        self.weights.bias(found.weight),
                        reason="bias of a matrix",
                    )
                    made_whole = self.ops.add(made_whole, bias)
                env[found.out] = HeldNode(made_whole)

    def _product(self, x: TokenRows, name: str) -> Any:
        """Return the product with a matrix, short of the factors of `x`."""
        if self.int8 is None:
            stored = self._constant(name, self.weights.matrix(name))
            return self.ops.matmul(x.values, stored, False, True)
        found = self.int8.matrices[name]
        stored = self._constant(name, found.codes, bits=bits_per_weight(found))
        scales = self._constant(
            name + "_scale", found.scales[:, None], reason="scale of each output"
        )
        return product(x, stored, scales)

    def _head(self, hidden: Any, *, dim: int) -> Any:
        ops = self.ops
        dense = self.weights.head(dim=dim)
        if dense is not None:
            stored = self._constant(
                "dense_folded", np.ascontiguousarray(dense.T), reason="see kept: the head"
            )
            return ops.matmul(hidden, stored, False, True)
        if dim < self.weights.checkpoint.dim:
            bounds = [self._numbers([n]) for n in (0, dim, 1, 2)]
            return ops.slice(hidden, *bounds)
        return ops.multiply(hidden, self._numbers(1.0, np.float32))

    def _pool(self, states: Any, mask: Any) -> Any:
        """Return the tokens' mean by their weights, scaled to length 1: a product for each text,
        whose sum does not depend on the size of the batch."""
        ops = self.ops
        weight = token_weights(mask, self.weights.checkpoint.pooling)
        total = ops.matmul(ops.unsqueeze(weight, self._numbers([1])), states, False, False)
        total = ops.squeeze(total, self._numbers([1]))
        count = ops.reduce_sum(weight, self._numbers([-1]), keep_dims=True)
        pooled = ops.divide(total, ops.maximum(count, self._numbers(1.0, np.float32)))
        if not self.weights.checkpoint.normalize:
            return pooled
        squares = ops.reduce_sum(ops.multiply(pooled, pooled), self._numbers([-1]), keep_dims=True)
        return ops.divide(
            pooled, ops.maximum(ops.sqrt(squares), self._numbers(SHORTEST, np.float32))
        )
