"""EmbeddingGemma 2, its text part: bidirectional, layers of two kinds, per-layer inputs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.embedding_gemma2 import config as own_config
from exporter.architectures.embedding_gemma2.config import (
    FULL,
    SLIDING,
    EmbeddingGemma2Architecture,
)
from exporter.architectures.embedding_gemma2.findings import architecture_findings
from exporter.architectures.embedding_gemma2.layer import FP16, entry_steps, layer_steps, sites
from exporter.architectures.embedding_gemma2.tensors import (
    OTHER_INPUTS,
    PROJECTION,
    expected_shapes,
    own_tensors,
)
from exporter.architectures.family import Site
from exporter.architectures.steps import Norm, Step
from exporter.checkpoint.contents import Architecture, Finding
from exporter.checkpoint.family import Reading
from exporter.checkpoint.safetensors_file import TensorInfo


class EmbeddingGemma2:
    """See `exporter.architectures.family.Family`."""

    poolings = ("mean",)
    sentencepiece = False
    around = ("<bos>", "<eos>")
    oldest_transformers = (5, 24)
    halves_window = False
    projection = PROJECTION
    real_weights = ""
    fp16 = FP16
    gguf = None
    no_gguf = (
        "llama.cpp as pinned here (gguf 0.19) has no architecture for it, and none of its others "
        "leaves scores unscaled, normalizes values and gates layers by the embeddings"
    )
    causal = False

    def unused(self, name: str) -> bool:
        return OTHER_INPUTS.search(name) is not None

    def obstacle(self, config: Mapping[str, Any]) -> str | None:
        return own_config.obstacle(config)

    def read(self, config: Mapping[str, Any], *, path: Path) -> Architecture:
        return own_config.read_architecture(config, path=path)

    def shapes(self, architecture: Architecture) -> Mapping[str, tuple[int, ...]]:
        return expected_shapes(_own(architecture))

    def own_tensors(
        self, architecture: Architecture, stored: Mapping[str, TensorInfo]
    ) -> Mapping[str, TensorInfo]:
        return own_tensors(_own(architecture), stored)

    def findings(
        self, architecture: Architecture, tensors: Mapping[str, TensorInfo]
    ) -> list[Finding]:
        return architecture_findings(_own(architecture), tensors)

    def usage_findings(self, reading: Reading) -> list[Finding]:
        del reading
        return []

    def described(self, architecture: Architecture) -> Sequence[tuple[str, str]]:
        a = _own(architecture)
        full = a.layer_types.count(FULL)
        return (
            ("layers", f"{a.num_layers} ({a.num_layers - full} sliding, {full} full attention)"),
            (
                "width",
                f"hidden {a.hidden_size}, intermediate {a.intermediate_size}, per-layer input "
                f"{a.per_layer_width}, projection {a.projection_dim}",
            ),
            (
                "heads",
                f"{a.num_heads} query; sliding {a.num_kv_heads} KV of {a.head_dim}, "
                f"full {a.global_kv_heads} KV of {a.global_head_dim}",
            ),
        )

    def embed_scale(self, architecture: Architecture) -> float:
        return math.sqrt(architecture.hidden_size)

    def gain(self, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return weight

    def epsilon(self, architecture: Architecture) -> float:
        return _own(architecture).rms_norm_eps

    def rotary(self, architecture: Architecture) -> Mapping[str, float]:
        a = _own(architecture)
        thetas = {FULL: a.rope_theta, SLIDING: a.rope_local_theta}
        return {kind: theta for kind, theta in thetas.items() if kind in a.layer_types}

    def rotary_dim(self, architecture: Architecture, table: str) -> int:
        return _own(architecture).heads_of(table)[1]

    def reach(self, architecture: Architecture) -> Mapping[str, int | None]:
        a = _own(architecture)
        return {
            kind: a.window_radius if kind == SLIDING else None
            for kind in sorted(set(a.layer_types))
        }

    def entry(self, architecture: Architecture) -> tuple[Step, ...]:
        del architecture
        return entry_steps()

    def layer(self, architecture: Architecture, index: int) -> tuple[Step, ...]:
        return layer_steps(_own(architecture), index)

    def final(self, architecture: Architecture) -> tuple[Step, ...]:
        del architecture
        return (Norm("x", "h", "norm"),)

    def sites(self, architecture: Architecture) -> tuple[Site, ...]:
        return sites(_own(architecture))


def _own(architecture: Architecture) -> EmbeddingGemma2Architecture:
    assert isinstance(architecture, EmbeddingGemma2Architecture)
    return architecture


FAMILY = EmbeddingGemma2()
