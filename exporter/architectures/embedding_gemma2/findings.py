"""What an EmbeddingGemma 2 asks of whoever runs it, with the evidence in its files."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from exporter.architectures.embedding_gemma2.config import CONTEXT, EmbeddingGemma2Architecture
from exporter.architectures.embedding_gemma2.layer import BACK_NORM, FACTOR, SCALE
from exporter.architectures.shared_findings import embed_scale_finding, stream_finding
from exporter.checkpoint.contents import Finding
from exporter.checkpoint.safetensors_file import TensorInfo, largest_magnitude, read_tensor

COMPARED = "none needed here: every graph does; compare another runtime's vectors with its"
POST_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm", BACK_NORM)


def architecture_findings(
    a: EmbeddingGemma2Architecture, tensors: Mapping[str, TensorInfo]
) -> list[Finding]:
    """Return the findings on arithmetic: fp16 range, and what runtimes made for Gemma 3 get
    wrong."""
    found = [fp16_range(a, tensors), embed_scale_finding(a.hidden_size)]
    found += [
        Finding(id=name, severity="info", evidence=evidence, effect=effect, remedy=COMPARED)
        for name, evidence, effect in _traps(a, tensors)
    ]
    if a.saved_positions > CONTEXT:
        found.append(
            Finding(
                id="context",
                severity="info",
                evidence=f"max_position_embeddings is {a.saved_positions:,}; the model was made "
                f"for {CONTEXT:,} tokens",
                effect=f"artifacts take up to {CONTEXT:,} tokens: angles for the rest would be "
                "larger than the model",
                remedy="cut longer texts into parts",
            )
        )
    if a.other_inputs:
        found.append(
            Finding(
                id="other-inputs",
                severity="info",
                evidence=f"config.json has {' and '.join(a.other_inputs)}",
                effect="none on a text's vector; images and sound are not exported",
                remedy="embed those with the original",
            )
        )
    return found


def _traps(
    a: EmbeddingGemma2Architecture, tensors: Mapping[str, TensorInfo]
) -> Iterator[tuple[str, str, str]]:
    """Yield (id, evidence, effect) of what another runtime is likely to compute otherwise."""
    yield (
        "attention-scale",
        f"attention's scores are multiplied by {SCALE:g}; heads are {a.head_dim} and "
        f"{a.global_head_dim} wide",
        f"a runtime that divides them by sqrt(head_dim), {math.sqrt(a.head_dim):.3g} here, as "
        "nearly all models do, gives other vectors",
    )
    yield (
        "value-norm",
        "each head of attention's values is RMS-normalized, without a gain: no tensor names it",
        "a runtime that goes by the tensors leaves it out and gives other vectors",
    )
    if a.head_dim != a.global_head_dim:
        yield (
            "head-sizes",
            f"sliding layers have heads of {a.head_dim}, full ones of {a.global_head_dim} "
            "(per_layer_config)",
            "a runtime with one head_dim for all layers cuts the matrices of the others wrongly, "
            "and rotates positions by angles of another width",
        )
    yield (
        "shared-kv-heads",
        f"{a.num_heads} query heads share {a.num_kv_heads} heads of keys and values in sliding "
        f"layers, {a.global_kv_heads} in full ones",
        "a runtime with one number for all layers, or that pairs heads otherwise, gives other "
        "vectors",
    )
    yield (
        "per-layer-inputs",
        f"each layer gates a detour of the stream by {a.per_layer_width} numbers, projected from "
        "the embeddings: the files hold no table of them",
        "a runtime that leaves them out, or looks them up as Gemma 3n and 4 do, gives other "
        "vectors",
    )
    scalars = [float(read_tensor(t)[0]) for n, t in tensors.items() if f".{FACTOR}." in n]
    yield (
        "layer-scalars",
        f"behind each layer the stream is multiplied by a stored number, {min(scalars):.4g} to "
        f"{max(scalars):.4g} here",
        "a runtime that leaves them out gives other vectors, unless all are 1",
    )
    yield (
        "window-radius",
        f"sliding_window is {a.window_radius}: positions up to {a.window_radius} apart see each "
        "other in a sliding layer",
        "a runtime that takes it for a width, half of it to each side as in Gemma 3, gives other "
        f"vectors of texts of more than {a.window_radius // 2 + 1} tokens",
    )
    yield (
        "projection-inside",
        f"the backbone's own {a.hidden_size} channels become {a.projection_dim} by "
        "embedding_projection, and modules.json has no Dense for it",
        f"a runtime that pools the last norm's output gives vectors of {a.hidden_size} components",
    )


def fp16_range(a: EmbeddingGemma2Architecture, tensors: Mapping[str, TensorInfo]) -> Finding:
    """Bound the residual stream from the weights alone.

    A row of RMS 1 times a gain has no component above sqrt(hidden) times the gain; each layer adds
    three of them and multiplies by its factor.
    """
    root = math.sqrt(a.hidden_size)
    bound = np.full(a.hidden_size, largest_magnitude(tensors["embed_tokens.weight"]) * root)
    most = bound.copy()
    for i in range(a.num_layers):
        gains = [read_tensor(tensors[f"layers.{i}.{norm}.weight"]) for norm in POST_NORMS]
        bound = bound + root * np.abs(gains).sum(axis=0)
        most = np.maximum(most, bound)
        bound = bound * abs(float(read_tensor(tensors[f"layers.{i}.{FACTOR}.weight"])[0]))
    channel = int(most.argmax())
    return stream_finding(
        float(most.max()), largest=f"gains and layer scalars let channel {channel} grow most"
    )
