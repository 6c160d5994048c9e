"""Causal Qwen 3 models: Qwen3-Embedding and what is fine-tuned from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import Site
from exporter.architectures.qwen3 import config as qwen3_config
from exporter.architectures.qwen3.config import FULL, Qwen3Architecture
from exporter.architectures.qwen3.findings import END, architecture_findings, usage_findings
from exporter.architectures.qwen3.gguf import Qwen3Gguf
from exporter.architectures.qwen3.layer import FP16, layer_steps, sites
from exporter.architectures.qwen3.tensors import expected_shapes
from exporter.architectures.steps import Norm, Step
from exporter.checkpoint.contents import Architecture, Finding
from exporter.checkpoint.family import Reading
from exporter.checkpoint.safetensors_file import TensorInfo


class Qwen3:
    """See `exporter.architectures.family.Family`."""

    poolings = ("lasttoken", "mean")
    sentencepiece = False
    around = ("", END)
    oldest_transformers = (4, 57)
    halves_window = False
    projection = ""
    real_weights = ""
    fp16 = FP16
    gguf = Qwen3Gguf()
    no_gguf = ""
    causal = True

    def unused(self, name: str) -> bool:
        return name == "lm_head.weight"

    def obstacle(self, config: Mapping[str, Any]) -> str | None:
        return qwen3_config.obstacle(config)

    def read(self, config: Mapping[str, Any], *, path: Path) -> Architecture:
        return qwen3_config.read_architecture(config, path=path)

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
        del tensors
        return architecture_findings(_own(architecture))

    def usage_findings(self, reading: Reading) -> list[Finding]:
        return usage_findings(reading)

    def described(self, architecture: Architecture) -> Sequence[tuple[str, str]]:
        a = _own(architecture)
        return (
            ("layers", f"{a.num_layers} (causal)"),
            (
                "width",
                f"hidden {a.hidden_size}, intermediate {a.intermediate_size}, "
                f"{a.num_heads} query and {a.num_kv_heads} KV heads of {a.head_dim}",
            ),
        )

    def embed_scale(self, architecture: Architecture) -> float:
        del architecture
        return 1.0

    def gain(self, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return weight

    def epsilon(self, architecture: Architecture) -> float:
        return _own(architecture).rms_norm_eps

    def rotary(self, architecture: Architecture) -> Mapping[str, float]:
        return {FULL: _own(architecture).rope_theta}

    def rotary_dim(self, architecture: Architecture, table: str) -> int:
        del table
        return _own(architecture).head_dim

    def reach(self, architecture: Architecture) -> Mapping[str, int | None]:
        del architecture
        return {FULL: None}

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


def _own(architecture: Architecture) -> Qwen3Architecture:
    assert isinstance(architecture, Qwen3Architecture)
    return architecture


FAMILY = Qwen3()
