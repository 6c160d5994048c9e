"""A model family that a test adds: pre-norms alone, no norm on queries, LLaMA's gains."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import Site, layer_name
from exporter.architectures.steps import Add, Attend, Gate, Norm, Product, Project, Rotate, Step
from exporter.checkpoint.contents import Architecture, Finding
from exporter.checkpoint.family import Reading
from exporter.checkpoint.json_file import take_int
from exporter.checkpoint.safetensors_file import TensorInfo


class ToyArchitecture(Architecture):
    model_type: Literal["toy"] = "toy"
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int


class Toy:
    poolings = ("mean",)
    sentencepiece = True
    around = ("<bos>", "<eos>")
    oldest_transformers = (4, 57)
    halves_window = False
    projection = ""
    real_weights = ""
    fp16 = None
    gguf = None
    no_gguf = "it is a toy"
    causal = False

    def unused(self, name: str) -> bool:
        return False

    def obstacle(self, config: Mapping[str, Any]) -> str | None:
        return "it has a bias" if config.get("attention_bias") else None

    def read(self, config: Mapping[str, Any], *, path: Path) -> Architecture:
        def number(name: str) -> int:
            return take_int(config, name, path=path)

        return ToyArchitecture(
            vocab_size=number("vocab_size"),
            hidden_size=number("hidden_size"),
            num_layers=number("num_hidden_layers"),
            max_positions=number("max_position_embeddings"),
            layer_types=("full",) * number("num_hidden_layers"),
            heads=number("num_attention_heads"),
            kv_heads=number("num_key_value_heads"),
            head_dim=number("head_dim"),
            intermediate_size=number("intermediate_size"),
        )

    def shapes(self, architecture: Architecture) -> Mapping[str, tuple[int, ...]]:
        a = own(architecture)
        h, q, kv = a.hidden_size, a.heads * a.head_dim, a.kv_heads * a.head_dim
        m = a.intermediate_size
        layer = {
            "before": (h,),
            "between": (h,),
            "q": (q, h),
            "k": (kv, h),
            "v": (kv, h),
            "o": (h, q),
            "gate": (m, h),
            "up": (m, h),
            "down": (h, m),
        }
        return {"embed_tokens.weight": (a.vocab_size, h), "last.weight": (h,)} | {
            layer_name(i, name) + ".weight": shape
            for i in range(a.num_layers)
            for name, shape in layer.items()
        }

    def own_tensors(
        self, architecture: Architecture, stored: Mapping[str, TensorInfo]
    ) -> Mapping[str, TensorInfo]:
        return stored

    def findings(
        self, architecture: Architecture, tensors: Mapping[str, TensorInfo]
    ) -> list[Finding]:
        return []

    def usage_findings(self, reading: Reading) -> list[Finding]:
        return []

    def described(self, architecture: Architecture) -> Sequence[tuple[str, str]]:
        return (("layers", f"{architecture.num_layers} toys"),)

    def embed_scale(self, architecture: Architecture) -> float:
        return 1.0

    def gain(self, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return weight

    def epsilon(self, architecture: Architecture) -> float:
        return 1e-5

    def rotary(self, architecture: Architecture) -> Mapping[str, float]:
        return {"full": 5000.0}

    def rotary_dim(self, architecture: Architecture, table: str) -> int:
        return own(architecture).head_dim

    def reach(self, architecture: Architecture) -> Mapping[str, int | None]:
        return {"full": None}

    def entry(self, architecture: Architecture) -> tuple[Step, ...]:
        return ()

    def layer(self, architecture: Architecture, index: int) -> tuple[Step, ...]:
        a = own(architecture)

        def at(name: str) -> str:
            return layer_name(index, name)

        return (
            Norm("x", "h", at("before"), site="in"),
            Project(
                "h",
                "in",
                (
                    Product(at("q"), "q", heads=a.heads),
                    Product(at("k"), "k", heads=a.kv_heads),
                    Product(at("v"), "v", heads=a.kv_heads),
                ),
            ),
            Rotate("q", a.heads, "full"),
            Rotate("k", a.kv_heads, "full"),
            Attend(
                "q",
                "k",
                "v",
                "mixed",
                heads=a.heads,
                kv_heads=a.kv_heads,
                head_dim=a.head_dim,
                mask="full",
                scale=a.head_dim**-0.5,
                site="mixed",
            ),
            Project("mixed", "mixed", (Product(at("o"), "out"),)),
            Add("x", "out", "x"),
            Norm("x", "h", at("between"), site="between"),
            Project(
                "h",
                "between",
                (Product(at("gate"), "gate"), Product(at("up"), "up", late_factor=True)),
            ),
            Gate("gate", "up", "fed", "gelu_tanh", site="fed"),
            Project("fed", "fed", (Product(at("down"), "out"),)),
            Add("x", "out", "x"),
        )

    def final(self, architecture: Architecture) -> tuple[Step, ...]:
        return (Norm("x", "h", "last"),)

    def sites(self, architecture: Architecture) -> tuple[Site, ...]:
        a = own(architecture)
        return (
            Site("in", ("q", "k", "v"), width=a.hidden_size, norm="before"),
            Site(
                "mixed",
                ("o",),
                width=a.heads * a.head_dim,
                matrix="v",
                head_dim=a.head_dim,
                group=a.heads // a.kv_heads,
            ),
            Site("between", ("gate", "up"), width=a.hidden_size, norm="between"),
            Site("fed", ("down",), width=a.intermediate_size, matrix="up"),
        )


def own(architecture: Architecture) -> ToyArchitecture:
    assert isinstance(architecture, ToyArchitecture)
    return architecture


FAMILY = Toy()
