"""What reading a checkpoint asks of its model family. Families live in `exporter.architectures`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from exporter.checkpoint.contents import Architecture, Finding, Prompts
from exporter.checkpoint.safetensors_file import TensorInfo
from exporter.checkpoint.tokenizer import TokenizerFacts
from exporter.registry import FAMILIES, resolve


@dataclass(frozen=True)
class Reading:
    """What is known of a checkpoint besides its weights. `prompts`: those that are used."""

    folder: Path
    pooling: str
    prompts: Prompts
    facts: TokenizerFacts


class ReadFamily(Protocol):
    """Reads the numbers of one family's models, and knows their tensors."""

    poolings: Sequence[str]
    """Ways of pooling that its artifacts have."""
    sentencepiece: bool
    """Whether its tokenizer is a SentencePiece model, which GGUF needs beside tokenizer.json."""
    around: tuple[str, str]
    """The special tokens that its tokenizer puts before and behind each text, "" for none."""
    real_weights: str
    """The checkpoint on whose real weights the family's schemes below float32 were measured; "" for
    none: their artifacts say so, and none is recommended."""

    oldest_transformers: tuple[int, int]
    """The release that knew its models first: references need it."""
    halves_window: bool
    """Whether transformers halves the window of config.json at load, and so may have damaged it at
    save."""
    projection: str
    """The tensor of the backbone that works as a Dense behind pooling, "" where there is none: a
    linear map without bias, which commutes with every pooling that is supported."""

    def unused(self, name: str) -> bool:
        """Return whether a tensor that may lie in its files, of whole numbers even, is one that no
        vector depends on."""
        ...

    def obstacle(self, config: Mapping[str, Any]) -> str | None:
        """Return what keeps this config.json from the family's graphs, None where nothing does."""
        ...

    def read(self, config: Mapping[str, Any], *, path: Path) -> Architecture:
        """Return the architecture of a config without an obstacle. Raises BadInput naming the key
        and `path`."""
        ...

    def shapes(self, architecture: Architecture) -> Mapping[str, tuple[int, ...]]:
        """Return the name in the files and the shape of every tensor that a vector depends on."""
        ...

    def own_tensors(
        self, architecture: Architecture, stored: Mapping[str, TensorInfo]
    ) -> Mapping[str, TensorInfo]:
        """Return the tensors of the files as they are called here: `embed_tokens.weight` the table,
        `layers.0....` what belongs to a layer, no dot before `.weight` or `.bias` in all others.
        Those of Dense modules among them, as they are."""
        ...

    def findings(
        self, architecture: Architecture, tensors: Mapping[str, TensorInfo]
    ) -> list[Finding]:
        """Return what is to be known of this family's arithmetic in these weights."""
        ...

    def usage_findings(self, reading: Reading) -> list[Finding]:
        """Return what is to be known of how such a checkpoint is used: tokens, pooling, prompts."""
        ...


def find_family(model_type: object) -> ReadFamily | None:
    """Return the family of a config's model_type, None where there is none for it."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        return None
    family: ReadFamily = resolve(FAMILIES, model_type, what="model type")
    return family
