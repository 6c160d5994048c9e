"""Bidirectional Gemma 3 text models: EmbeddingGemma and what is fine-tuned from it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import Site
from exporter.architectures.gemma3 import config as gemma3_config
from exporter.architectures.gemma3.config import Gemma3Architecture
from exporter.architectures.gemma3.findings import architecture_findings
from exporter.architectures.gemma3.gguf import GemmaEmbedding
from exporter.architectures.gemma3.layer import FP16, layer_steps, sites
from exporter.architectures.gemma3.tensors import expected_shapes
from exporter.architectures.steps import Norm, Step
from exporter.checkpoint.contents import Architecture, Finding
from exporter.checkpoint.family import Reading
from exporter.checkpoint.safetensors_file import TensorInfo


class Gemma3:
    """See `exporter.architectures.family.Family`."""

    poolings = ("mean",)
    sentencepiece = True
    around = ("<bos>", "<eos>")
    oldest_transformers = (4, 57)
    halves_window = True
    projection = ""
    real_weights = "google/embeddinggemma-300m"
    fp16 = FP16
    gguf = GemmaEmbedding()
    no_gguf = ""
    causal = False

    def unused(self, name: str) -> bool:
        del name
        return False

    def obstacle(self, config: Mapping[str, Any]) -> str | None:
        return gemma3_config.obstacle(config)

    def read(self, config: Mapping[str, Any], *, path: Path) -> Architecture:
        return gemma3_config.read_architecture(config, path=path)

    def shapes(self, architecture: Architecture) -> Mapping[str, tuple[int, ...]]:
        return expected_shapes(_own(architecture))

    def own_tensors(
        self, architecture: Architecture, stored: Mapping[str, TensorInfo]
    ) -> Mapping[str, TensorInfo]:
        del architecture
        return stored

    def findings(
        self, architecture: Architecture, tensors: Mapping[str, TensorInfo]
    ) -> list[Finding]:
        return architecture_findings(_own(architecture), tensors)

    def usage_findings(self, reading: Reading) -> list[Finding]:
        del reading
        return []

    def described(self, architecture: Architecture) -> Sequence[tuple[str, str]]:
        a = _own(architecture)
        full = sum(kind == "full_attention" for kind in a.layer_types)
        return (
            ("layers", f"{a.num_layers} ({a.num_layers - full} sliding, {full} full attention)"),
            (
                "width",
                f"hidden {a.hidden_size}, intermediate {a.intermediate_size}, "
                f"{a.num_heads} query and {a.num_kv_heads} KV heads of {a.head_dim}",
            ),
        )

    def embed_scale(self, architecture: Architecture) -> float:
        return math.sqrt(architecture.hidden_size)

    def gain(self, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        gain: npt.NDArray[np.float32] = 1 + weight
        return gain

    def epsilon(self, architecture: Architecture) -> float:
        return _own(architecture).rms_norm_eps

    def rotary(self, architecture: Architecture) -> Mapping[str, float]:
        a = _own(architecture)
        thetas = {"full_attention": a.rope_theta, "sliding_attention": a.rope_local_theta}
        return {kind: theta for kind, theta in thetas.items() if kind in a.layer_types}

    def rotary_dim(self, architecture: Architecture, table: str) -> int:
        del table
        return _own(architecture).head_dim

    def reach(self, architecture: Architecture) -> Mapping[str, int | None]:
        a = _own(architecture)
        return {
            kind: a.sliding_window // 2 if kind == "sliding_attention" else None
            for kind in sorted(set(a.layer_types))
        }

    def entry(self, architecture: Architecture) -> tuple[Step, ...]:
        del architecture
        return ()

    def layer(self, architecture: Architecture, index: int) -> tuple[Step, ...]:
        return layer_steps(_own(architecture), index)

    def final(self, architecture: Architecture) -> tuple[Step, ...]:
        del architecture
        return (Norm("x", "h", "norm"),)

    def sites(self, architecture: Architecture) -> tuple[Site, ...]:
        return sites(_own(architecture))


def _own(architecture: Architecture) -> Gemma3Architecture:
    assert isinstance(architecture, Gemma3Architecture)
    return architecture


FAMILY = Gemma3()
