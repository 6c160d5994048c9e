"""The layers of a BertModel or a RobertaModel.

`x = LayerNorm(x + f(x))`: norms stand on the residual stream itself. Every product has a bias, GELU
is the exact one, positions are rows of a table that are added once
(https://github.com/huggingface/transformers/blob/v4.57.1/src/transformers/models/bert/modeling_bert.py,
https://github.com/huggingface/transformers/blob/v4.57.1/src/transformers/models/xlm_roberta/modeling_xlm_roberta.py).

What a norm gives is both multiplied and added to the stream again, and GELU bends what comes before
the last matrix: factors of channels can be folded only into the values of attention.
"""

import math

from exporter.architectures.bert.config import ATTENTION, BertArchitecture
from exporter.architectures.family import Fp16Plan, Site, layer_name
from exporter.architectures.steps import (
    Activate,
    Add,
    Attend,
    Copy,
    LayerNorm,
    Place,
    Product,
    Project,
    Step,
)

QUERY, KEY, VALUE = (f"attention.self.{name}" for name in ("query", "key", "value"))
OUTPUT, UP, DOWN = "attention.output.dense", "intermediate.dense", "output.dense"
FP16 = Fp16Plan(scales_stream=False, normed=("attention_sum", "mlp_sum"))
"""Norms bound the stream in every layer: nothing has to be moved."""


def entry_steps(a: BertArchitecture) -> tuple[Step, ...]:
    """Return the steps before the first layer."""
    return (
        Place("x", "x", "embed_positions", "embed_segments", unplaced=a.padding_id),
        LayerNorm("x", "x", "embed_norm"),
    )


def layer_steps(a: BertArchitecture, index: int) -> tuple[Step, ...]:
    """Return the steps of a layer."""

    def product(name: str, out: str, *, heads: int = 0, site: str = "") -> Product:
        return Product(layer_name(index, name), out, heads=heads, site=site, bias=True)

    def norm(name: str, out: str) -> LayerNorm:
        return LayerNorm("sum", out, layer_name(index, name), site="post_norm")

    return (
        Copy("x", "h", site="attention_in"),
        Project(
            "h",
            "attention_in",
            (
                product(QUERY, "q", heads=a.num_heads, site="query"),
                product(KEY, "k", heads=a.num_heads, site="key"),
                product(VALUE, "v", heads=a.num_heads, site="value"),
            ),
        ),
        Attend(
            q="q",
            k="k",
            v="v",
            out="attended",
            heads=a.num_heads,
            kv_heads=a.num_heads,
            head_dim=a.head_dim,
            mask=ATTENTION,
            scale=1 / math.sqrt(a.head_dim),
            site="attended",
            scores_site="scores",
        ),
        Project("attended", "attended", (product(OUTPUT, "out", site="attention_out"),)),
        Add("x", "out", "sum", site="attention_sum"),
        norm("attention.output.LayerNorm", "x"),
        Copy("x", "h", site="mlp_in"),
        Project("h", "mlp_in", (product(UP, "up", site="up"),)),
        Activate("up", "product", "gelu", site="product"),
        Project("product", "product", (product(DOWN, "out", site="mlp_out"),)),
        Add("x", "out", "sum", site="mlp_sum"),
        norm("output.LayerNorm", "x"),
    )


def sites(a: BertArchitecture) -> tuple[Site, ...]:
    """Return the inputs of a layer's matrices."""
    return (
        Site("attention_in", (QUERY, KEY, VALUE), width=a.hidden_size),
        Site("attended", (OUTPUT,), width=a.hidden_size, matrix=VALUE, head_dim=a.head_dim),
        Site("mlp_in", (UP,), width=a.hidden_size),
        Site("product", (DOWN,), width=a.intermediate_size),
    )
