"""BERT and its kin: encoders whose norms stand on the residual stream.

One layer, two ways to count positions: `BERT` from 0, `ROBERTA` (XLM-RoBERTa with it, so BGE-M3 and
multilingual-e5) from behind the padding's id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.bert import config as bert_config
from exporter.architectures.bert.config import ATTENTION, BertArchitecture
from exporter.architectures.bert.findings import architecture_findings
from exporter.architectures.bert.gguf import BertEncoder
from exporter.architectures.bert.layer import FP16, entry_steps, layer_steps, sites
from exporter.architectures.bert.tensors import UNUSED, expected_shapes, own_name
from exporter.architectures.family import Site
from exporter.architectures.steps import Copy, Step
from exporter.checkpoint.contents import Architecture, Finding
from exporter.checkpoint.family import Reading
from exporter.checkpoint.safetensors_file import TensorInfo


@dataclass(frozen=True)
class Bert:
    """See `exporter.architectures.family.Family`."""

    counts_from_padding: bool
    around: tuple[str, str]
    real_weights: str
    gguf: BertEncoder | None
    no_gguf: str = ""
    poolings: tuple[str, ...] = ("mean", "cls")
    sentencepiece: bool = False
    oldest_transformers: tuple[int, int] = (4, 57)
    halves_window: bool = False
    projection: str = ""
    fp16 = FP16
    causal = False

    def unused(self, name: str) -> bool:
        return name in UNUSED

    def obstacle(self, config: Mapping[str, Any]) -> str | None:
        return bert_config.obstacle(config)

    def read(self, config: Mapping[str, Any], *, path: Path) -> Architecture:
        return bert_config.read_architecture(
            config, path=path, counts_from_padding=self.counts_from_padding
        )

    def shapes(self, architecture: Architecture) -> Mapping[str, tuple[int, ...]]:
        return expected_shapes(_own(architecture))

    def own_tensors(
        self, architecture: Architecture, stored: Mapping[str, TensorInfo]
    ) -> Mapping[str, TensorInfo]:
        del architecture
        return {own_name(name): info for name, info in stored.items()}

    def findings(
        self, architecture: Architecture, tensors: Mapping[str, TensorInfo]
    ) -> list[Finding]:
        return architecture_findings(_own(architecture), tensors)

    def usage_findings(self, reading: Reading) -> list[Finding]:
        del reading
        return []

    def described(self, architecture: Architecture) -> Sequence[tuple[str, str]]:
        a = _own(architecture)
        return (
            ("layers", f"{a.num_layers}, norms behind each half"),
            (
                "width",
                f"hidden {a.hidden_size}, intermediate {a.intermediate_size}, "
                f"{a.num_heads} heads of {a.head_dim}",
            ),
        )

    def embed_scale(self, architecture: Architecture) -> float:
        del architecture
        return 1.0

    def gain(self, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return weight

    def epsilon(self, architecture: Architecture) -> float:
        return _own(architecture).layer_norm_eps

    def rotary(self, architecture: Architecture) -> Mapping[str, float]:
        del architecture
        return {}

    def rotary_dim(self, architecture: Architecture, table: str) -> int:
        del table
        return _own(architecture).head_dim

    def reach(self, architecture: Architecture) -> Mapping[str, int | None]:
        del architecture
        return {ATTENTION: None}

    def entry(self, architecture: Architecture) -> tuple[Step, ...]:
        return entry_steps(_own(architecture))

    def layer(self, architecture: Architecture, index: int) -> tuple[Step, ...]:
        return layer_steps(_own(architecture), index)

    def final(self, architecture: Architecture) -> tuple[Step, ...]:
        del architecture
        return (Copy("x", "h"),)

    def sites(self, architecture: Architecture) -> tuple[Site, ...]:
        return sites(_own(architecture))


def _own(architecture: Architecture) -> BertArchitecture:
    assert isinstance(architecture, BertArchitecture)
    return architecture


BERT = Bert(
    counts_from_padding=False,
    around=("[CLS]", "[SEP]"),
    real_weights="sentence-transformers/all-MiniLM-L6-v2",
    gguf=BertEncoder(),
)
ROBERTA = Bert(
    counts_from_padding=True,
    around=("<s>", "</s>"),
    real_weights="",
    gguf=None,
    no_gguf="llama.cpp knows its layers, but its tokenizers are not written here",
)
