"""The layers of a bidirectional Gemma3TextModel as fused ONNX operators.

Written from the model's definition: `x = x + post_norm(f(pre_norm(x)))`, RMSNorm gain 1 + weight,
per-head norms on queries and keys, rotary positions, sliding and full layers
(https://github.com/huggingface/transformers/blob/v4.57.1/src/transformers/models/gemma3/modeling_gemma3.py).
"""

import math

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.records import Gemma3Architecture
from exporter.onnx.graph_writer import BOOL, GraphWriter
from exporter.onnx.plain_attention import attend_plain, mask_by_group
from exporter.onnx.scheme import Input, Scheme, whole
from exporter.quantization.weights import ModelWeights

# Finite: a row with every position masked stays finite too. Two masks may be added in float16.
MASKED = {"float32": -1e9, "float16": -30000.0}
MICROSOFT = "com.microsoft"


def rotary_tables(
    theta: float, *, head_dim: int, positions: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return cos and sin, each (positions, head_dim / 2) float32.

    Angles are float32 products of float32 inverse frequencies, as transformers computes them.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    inverse = (1.0 / (np.float32(theta) ** exponents)).astype(np.float32)
    angles = np.arange(positions, dtype=np.float32)[:, None] * inverse[None, :]
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


class Gemma3Layers:
    """Adds the backbone to a graph. `hidden_states` is its one public step."""

    def __init__(self, writer: GraphWriter, weights: ModelWeights, scheme: Scheme) -> None:
        self.w, self.weights, self.scheme = writer, weights, scheme
        self.a: Gemma3Architecture = weights.architecture
        self.compute = np.dtype(scheme.compute)
        self._token_shape = ""

    def hidden_states(self, ids: str, mask: str) -> str:
        """Return the final-norm output, (batch, sequence, hidden) in the scheme's compute dtype.

        ids, mask: (batch, sequence) int64; mask is 1 for real tokens.
        """
        a, w = self.a, self.w
        biases = self._attention_biases(mask)
        sizes = w.node("Shape", [ids])
        self._token_shape = w.node("Concat", [sizes, w.constant([-1], np.int64)], axis=0)
        tables = self._tables()
        table = self.weights.checkpoint.tensors["embed_tokens.weight"]
        x = self.scheme.lookup(w, table, ids, scale=self.weights.embed_scale)
        h = self._norm(x, "layers.0.input_layernorm")
        for i, kind in enumerate(a.layer_types):
            at = f"layers.{i}."
            attended = self._attention(h, at, bias=biases[kind], tables=tables[kind])
            attended = self._norm(attended, at + "post_attention_layernorm")
            h, x = self._add_norm(attended, x, at + "pre_feedforward_layernorm")
            fed = self._norm(self._feed_forward(h, at), at + "post_feedforward_layernorm")
            following = f"layers.{i + 1}.input_layernorm" if i + 1 < a.num_layers else "norm"
            h, x = self._add_norm(fed, x, following)
        return h

    @property
    def plain_attention(self) -> bool:
        """Whether attention is spelled in plain operators: in float32 on a processor they are the
        faster ones (benchmarks/peers.py); GPUs fuse MultiHeadAttention in float16."""
        if self.w.flavour.attention == "Attention":
            return False
        return self.w.flavour.attention == "plain" or self.compute == np.float32

    def _gain(self, name: str, *, scale: float = 1.0) -> str:
        gain = (self.weights.gain(name) * np.float32(scale)).astype(self.compute)
        return self.w.weight(name + ".gain", gain, reason="gain of an RMSNorm")

    def _norm(self, x: str, name: str, *, scale: float = 1.0) -> str:
        """Return RMSNorm(x) times `scale`, which is folded into the gain."""
        normed: str = self.w.node(
            "SimplifiedLayerNormalization", [x, self._gain(name, scale=scale)],
            axis=-1, epsilon=self.weights.epsilon(name), stash_type=1,
        )  # fmt: skip
        return normed

    def _add_norm(self, x: str, residual: str, name: str) -> tuple[str, str]:
        """Return (norm(x + residual), x + residual) in one operator."""
        normed, _, _, total = self.w.node(
            "SkipSimplifiedLayerNormalization", [x, residual, self._gain(name)], domain=MICROSOFT,
            outputs=4, unused=(1, 2), epsilon=self.weights.epsilon(name),
        )  # fmt: skip
        return normed, total

    def _tables(self) -> dict[str, tuple[str, str]]:
        a = self.a
        made: dict[str, tuple[str, str]] = {}
        for kind, theta in (("full_attention", a.rope_theta),
                            ("sliding_attention", a.rope_local_theta)):  # fmt: skip
            if kind not in a.layer_types:
                continue
            cos, sin = rotary_tables(theta, head_dim=a.head_dim, positions=a.max_positions)
            pair = (("cos", cos.astype(self.compute)), ("sin", sin.astype(self.compute)))
            cos_name, sin_name = (
                self.w.weight(f"rotary_{name}_{kind}", values, reason="table of rotary angles")
                for name, values in pair
            )
            made[kind] = (cos_name, sin_name)
        return made

    def _attention_biases(self, mask: str) -> dict[str, str]:
        """Return the additive masks by layer kind, each (batch, 1, sequence, sequence), or as
        `mask_by_group` makes them."""
        w = self.w
        zero = w.constant(0.0, self.compute)
        masked = w.constant(MASKED[self.compute.name], self.compute)
        shape = w.node("Shape", [mask])
        length = w.node("Gather", [shape, w.constant(1, np.int64)], axis=0)
        positions = w.node(
            "Range", [w.constant(0, np.int64), length, w.constant(1, np.int64)]
        )  # fmt: skip
        rows = w.node("Unsqueeze", [positions, w.constant([1], np.int64)])
        distance = w.node("Abs", [w.node("Sub", [rows, positions])])
        real = w.node("Cast", [mask], to=BOOL)
        keys = w.node("Where", [real, zero, masked])
        keys = w.node("Unsqueeze", [keys, w.constant([1, 2], np.int64)])
        made: dict[str, str] = {}
        for kind in sorted(set(self.a.layer_types)):
            # The full mask needs its (sequence, sequence) shape too: none is farther than 2^40.
            reach = self.a.sliding_window // 2 if kind == "sliding_attention" else 1 << 40
            far = w.node("Greater", [distance, w.constant(reach, np.int64)])
            bias = w.node("Add", [w.node("Where", [far, masked, zero]), keys])
            if self.plain_attention:
                group = self.a.num_heads // self.a.num_kv_heads
                bias = mask_by_group(w, bias, group=group)
            made[kind] = bias
        return made

    def _attention(self, h: str, at: str, *, bias: str, tables: tuple[str, str]) -> str:
        a = self.a
        # Not merged: cutting the product apart again is a pass over it.
        x = self.scheme.enter(self.w, h, site="attention_in")
        q, k, v = (self._project(x, f"{at}self_attn.{part}_proj") for part in "qkv")
        # Multiplied by their rows' factors although norms follow: their eps is not nothing there.
        q, k, v = (whole(self.w, part, x) for part in (q, k, v))
        scale = 1 / math.sqrt(a.query_pre_attn_scalar) if self.plain_attention else 1.0
        q = self._rotate(q, at + "self_attn.q_norm", heads=a.num_heads, tables=tables, scale=scale)
        k = self._rotate(k, at + "self_attn.k_norm", heads=a.num_kv_heads, tables=tables)
        attended = self._attend(q, k, v, bias)
        x = self.scheme.enter(self.w, attended, site="attended")
        return whole(self.w, self._project(x, at + "self_attn.o_proj"), x)

    def _project(self, x: Input, name: str) -> str:
        def weight() -> npt.NDArray[np.float32]:
            return np.ascontiguousarray(self.weights.matrix(name).T)

        return self.scheme.matmul(self.w, x, weight, name=name)

    def _attend(self, q: str, k: str, v: str, bias: str) -> str:
        """Return (batch, sequence, heads * head_dim)."""
        a, w = self.a, self.w
        scale = 1 / math.sqrt(a.query_pre_attn_scalar)
        if w.flavour.attention == "Attention":
            standard: str = w.node(
                "Attention", [q, k, v, bias], q_num_heads=a.num_heads,
                kv_num_heads=a.num_kv_heads, is_causal=0, scale=scale,
            )  # fmt: skip
            return standard
        if self.plain_attention:
            return attend_plain(w, q, k, v, bias, architecture=a)
        found: str = w.node(
            "MultiHeadAttention", [q, self._repeat(k), self._repeat(v), "", "", bias],
            domain=MICROSOFT, num_heads=a.num_heads, scale=scale,
        )  # fmt: skip
        return found

    def _rotate(
        self, x: str, norm: str, *, heads: int, tables: tuple[str, str], scale: float = 1.0
    ) -> str:
        w, a = self.w, self.a
        split = w.node("Reshape", [x, w.constant([-1, a.head_dim], np.int64)])
        normed = self._norm(split, norm, scale=scale)
        flat = w.node("Reshape", [normed, self._token_shape])
        rotated: str = w.node(
            "RotaryEmbedding", [flat, w.constant([0], np.int64), *tables],
            domain=MICROSOFT, num_heads=heads, interleaved=0,
        )  # fmt: skip
        return rotated

    def _repeat(self, x: str) -> str:
        """Repeat KV heads to the number of query heads: MultiHeadAttention wants them equal."""
        a, w = self.a, self.w
        group = a.num_heads // a.num_kv_heads
        if group == 1:
            return x
        heads = [x]
        if a.num_kv_heads > 1:
            sizes = w.constant([a.head_dim] * a.num_kv_heads, np.int64)
            heads = list(w.node("Split", [x, sizes], outputs=a.num_kv_heads, axis=-1))
        repeated: str = w.node("Concat", [h for h in heads for _ in range(group)], axis=-1)
        return repeated

    def _feed_forward(self, h: str, at: str) -> str:
        w = self.w
        x = self.scheme.enter(w, h, site="mlp_in")
        gate, up = (self._project(x, f"{at}mlp.{part}_proj") for part in ("gate", "up"))
        gate = w.node("FastGelu", [whole(w, gate, x)], domain=MICROSOFT)
        # The factor of a row of `up` is made up for behind down_proj: it passes a rounding whose
        # scale is the row's own.
        y = self.scheme.enter(w, w.node("Mul", [gate, up]), site="product")
        return whole(w, self._project(y, at + "mlp.down_proj"), y, x)
