"""The literal registries: a name, and where the record lives that says all about it.

A format, a model family and a consumer of packages are each one folder and one line here.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from exporter.errors import BadInput, unknown_name

FAMILIES: Mapping[str, str] = {
    "gemma3_text": "exporter.architectures.gemma3.family:FAMILY",
    "embedding_gemma2_text": "exporter.architectures.embedding_gemma2.family:FAMILY",
    "embedding_gemma2": "exporter.architectures.embedding_gemma2.family:FAMILY",
    "bert": "exporter.architectures.bert.family:BERT",
    "roberta": "exporter.architectures.bert.family:ROBERTA",
    "xlm-roberta": "exporter.architectures.bert.family:ROBERTA",
    "qwen3": "exporter.architectures.qwen3.family:FAMILY",
}
"""Model families, by the model_type of config.json."""

FORMATS: Mapping[str, str] = {  # in the order in which pages name them
    "gguf": "exporter.formats.gguf.format:FORMAT",
    "onnx": "exporter.formats.onnx.format:FORMAT",
    "openvino": "exporter.formats.openvino.format:FORMAT",
    "litert": "exporter.formats.litert.format:FORMAT",
}

REFUSED_FORMATS: Mapping[str, str] = {
    "coreml": "Core ML models run on Apple's systems only, so none could be proven where this tool "
    "is tested; ONNX Runtime runs on iOS: lawvault export onnx",
    "mlx": "MLX runs on Apple's processors only, so no artifact could be proven where this tool is "
    "tested; llama.cpp runs there: lawvault export gguf",
}
"""What is asked for and not made, and why."""

PACKAGES: Mapping[str, str] = {
    "ollama": "exporter.packages.ollama.packager:PACKAGER",
    "transformersjs": "exporter.packages.transformersjs.packager:PACKAGER",
    "onnxruntime": "exporter.packages.onnxruntime.packager:PACKAGER",
    "openvino": "exporter.packages.openvino.packager:PACKAGER",
    "android": "exporter.packages.android.packager:PACKAGER",
    "sentence-transformers": "exporter.packages.sentence_transformers.packager:PACKAGER",
}
"""Consumers of packages."""

TARGETS: Mapping[str, str] = {
    "hf": "exporter.release.targets.huggingface:TARGET",
    "modelscope": "exporter.release.targets.modelscope:TARGET",
    "ollama": "exporter.release.targets.ollama:TARGET",
}
"""Where a release is published, by what stands before `://` in `publish --to`."""

ALL_REGISTRIES: Mapping[str, Mapping[str, str]] = {
    "model type": FAMILIES,
    "artifact format": FORMATS,
    "package": PACKAGES,
    "target": TARGETS,
}


def resolve(registry: Mapping[str, str], name: str, *, what: str) -> Any:
    """Import and return the object registered as `name`. Raises BadInput for an unknown name."""
    if registry is FORMATS and name in REFUSED_FORMATS:
        raise BadInput(f"there is no {what} '{name}': {REFUSED_FORMATS[name]}")
    if name not in registry:
        raise unknown_name(what, name, registry)
    return resolve_place(registry[name])


def resolve_place(place: str) -> Any:
    """Import and return what `module:attribute` names."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
