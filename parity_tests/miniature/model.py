"""A trainable EmbeddingGemma-shaped model: fused torch operators, tensor names as saved.

transformers' own module gives the same vectors and is what judges the result; this one exists
because training on a CPU is bound by memory traffic, which fused norms and attention halve.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The numbers of the miniature. `window` is config.json's raw value, reach is half of it."""

    vocab: int
    hidden: int = 256
    intermediate: int = 384
    layers: int = 6
    heads: int = 3
    head_dim: int = 64
    wide: int = 768
    window: int = 128
    max_tokens: int = 512


torch._dynamo.config.recompile_limit = 64  # dtypes and widths differ, each needs its own


# Compiled by themselves: eager torch runs each as five or more passes over memory.
@torch.compile(dynamic=True)
def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Return x / rms(x) * (1 + weight), in float32."""
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + weight)


@torch.compile(dynamic=True)
def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return x with rotary positions applied. x: (batch, heads, n, head_dim)."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), -1)
    return x * cos + turned * sin


@torch.compile(dynamic=True)
def gated_gelu(gate: Tensor, up: Tensor) -> Tensor:
    """Return gelu(gate) * up."""
    return F.gelu(gate, approximate="tanh") * up


class Norm(nn.Module):
    """RMSNorm with gain 1 + weight."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x.reshape(-1, x.shape[-1]), self.weight).view(x.shape)


class Layer(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.s = s
        q, kv = s.heads * s.head_dim, s.head_dim
        self.input_layernorm, self.post_attention_layernorm = Norm(s.hidden), Norm(s.hidden)
        self.pre_feedforward_layernorm = Norm(s.hidden)
        self.post_feedforward_layernorm = Norm(s.hidden)
        self.self_attn = nn.ModuleDict(
            {
                "q_proj": nn.Linear(s.hidden, q, bias=False),
                "k_proj": nn.Linear(s.hidden, kv, bias=False),
                "v_proj": nn.Linear(s.hidden, kv, bias=False),
                "o_proj": nn.Linear(q, s.hidden, bias=False),
                "q_norm": Norm(s.head_dim),
                "k_norm": Norm(s.head_dim),
            }
        )
        self.mlp = nn.ModuleDict(
            {
                "gate_proj": nn.Linear(s.hidden, s.intermediate, bias=False),
                "up_proj": nn.Linear(s.hidden, s.intermediate, bias=False),
                "down_proj": nn.Linear(s.intermediate, s.hidden, bias=False),
            }
        )

    def forward(self, x: Tensor, mask: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        s, a = self.s, self.self_attn
        b, n, _ = x.shape
        h = self.input_layernorm(x)
        q = a["q_norm"](a["q_proj"](h).view(b, n, s.heads, s.head_dim)).transpose(1, 2)
        k = a["k_norm"](a["k_proj"](h).view(b, n, 1, s.head_dim)).transpose(1, 2)
        v = a["v_proj"](h).view(b, n, 1, s.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        k, v = k.expand_as(q), v.expand_as(q)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.to(v.dtype))
        o = a["o_proj"](o.transpose(1, 2).reshape(b, n, -1))
        x = x + self.post_attention_layernorm(o)
        h = self.pre_feedforward_layernorm(x)
        h = gated_gelu(self.mlp["gate_proj"](h), self.mlp["up_proj"](h))
        return x + self.post_feedforward_layernorm(self.mlp["down_proj"](h))


class Miniature(nn.Module):
    """Backbone, mean pooling and two Dense; `forward` gives unit-free vectors (batch, hidden)."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.s = s
        self.embed_tokens = nn.Embedding(s.vocab, s.hidden)
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.layers))
        self.norm = Norm(s.hidden)
        self.dense_2 = nn.Linear(s.hidden, s.wide, bias=False)
        self.dense_3 = nn.Linear(s.wide, s.hidden, bias=False)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=1 / math.sqrt(p.shape[1]))
        nn.init.normal_(self.embed_tokens.weight, std=0.06)
        for layer in self.layers:
            # Small post-norm gains at the start: the residual begins as the embedding.
            nn.init.constant_(layer.post_attention_layernorm.weight, -0.8)
            nn.init.constant_(layer.post_feedforward_layernorm.weight, -0.8)
        tables = {}
        for kind, theta in (("full", 1e6), ("sliding", 1e4)):
            inverse = theta ** -(torch.arange(0, s.head_dim, 2) / s.head_dim)
            angles = torch.outer(torch.arange(s.max_tokens), inverse).repeat(1, 2)
            tables[kind] = (angles.cos(), angles.sin())
        self.tables = tables

    def forward(self, ids: Tensor) -> Tensor:
        n = ids.shape[1]
        real = ids != 0
        near = (torch.arange(n)[:, None] - torch.arange(n)[None]).abs() <= self.s.window // 2
        seen = real[:, None, None, :].expand(-1, 1, n, -1)
        full = torch.where(seen, 0.0, -1e9)
        sliding = torch.where(seen & near, 0.0, -1e9)
        x = self.embed_tokens(ids) * math.sqrt(self.s.hidden)
        for i, layer in enumerate(self.layers):
            kind, mask = ("full", full) if i % 6 == 5 else ("sliding", sliding)
            cos, sin = (t[:n] for t in self.tables[kind])
            x = layer(x, mask, cos, sin)
        x = self.norm(x) * real[..., None]
        pooled = x.sum(1) / real.sum(1, keepdim=True)
        return self.dense_3(self.dense_2(pooled)).float()


def backbone_and_dense(
    state: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    """Split a state dict into the backbone under its saved names, and the two Dense weights."""
    dense = (state["dense_2.weight"], state["dense_3.weight"])
    return {k: v for k, v in state.items() if not k.startswith("dense_")}, dense
