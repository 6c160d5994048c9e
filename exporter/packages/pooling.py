"""What each consumer calls a way of pooling, and on which side its batches must be padded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exporter.manifest import Manifest


@dataclass(frozen=True)
class PoolingNames:
    """One way of pooling, by the names of those who pool token states themselves."""

    sentence_transformers: str
    """Key of its Pooling module's config.json."""
    transformersjs: str
    fastembed: str
    embeddings_inference: str
    """text-embeddings-inference's `--pooling`."""
    llamacpp: str
    """llama-server's `--pooling`."""


POOLINGS: Mapping[str, PoolingNames] = {
    "mean": PoolingNames("pooling_mode_mean_tokens", "mean", "MEAN", "mean", "mean"),
    "cls": PoolingNames("pooling_mode_cls_token", "cls", "CLS", "cls", "cls"),
    "lasttoken": PoolingNames(
        "pooling_mode_lasttoken", "last_token", "LAST_TOKEN", "last-token", "last"
    ),
}
"""By sentence-transformers' name, which a manifest has."""


def pooling_names(manifest: Manifest) -> PoolingNames:
    """Return what consumers call an artifact's pooling."""
    return POOLINGS[manifest.pooling]


def padded_rightly(tokenizer_config: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    """Return tokenizer_config.json for consumers that pool token states themselves.

    transformers.js takes the last position of a batch for its last token, which is the text's only
    where shorter texts are padded on the left; vectors are the same on either side.
    """
    last = manifest.pooling == "lasttoken"
    return {**tokenizer_config, **({"padding_side": "left"} if last else {})}
