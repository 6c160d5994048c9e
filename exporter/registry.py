"""The literal registries: a name, and where the object lives. Resolved lazily.

A new scheme, runtime or packager is one new file and one line here.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from exporter.errors import unknown_name

FAMILIES: Mapping[str, str] = {"gemma3_text": "exporter.architectures.gemma3.family:FAMILY"}
"""Model families, by the model_type of config.json."""

ONNX_SCHEMES: Mapping[str, str] = {
    "none": "exporter.formats.onnx.scheme_fp32:SCHEME",
    "fp16": "exporter.formats.onnx.scheme_fp16:SCHEME",
    "int8": "exporter.formats.onnx.scheme_int8:SCHEME",
    "q4": "exporter.formats.onnx.scheme_q4:SCHEME",
    "q4f16": "exporter.formats.onnx.scheme_q4:SCHEME_F16",
}

ONNX_GRAPHS: Mapping[str, str] = {
    "built": "exporter.formats.onnx.built:export_built",
    "traced": "exporter.formats.onnx.traced:export_traced",
}

ONNX_FLAVOURS: Mapping[str, str] = {
    "portable": "exporter.formats.onnx.flavour:PORTABLE",
    "web": "exporter.formats.onnx.flavour:WEB",
    "cpu23": "exporter.formats.onnx.flavour:CPU23",
}

GGUF_TYPES: Mapping[str, str] = {
    "f32": "exporter.formats.gguf.types:F32",
    "f16": "exporter.formats.gguf.types:F16",
    "bf16": "exporter.formats.gguf.types:BF16",
    "q8_0": "exporter.formats.gguf.types:Q8_0",
    "q6_k": "exporter.formats.gguf.types:Q6_K",
    "q5_k_m": "exporter.formats.gguf.types:Q5_K_M",
    "q4_k_m": "exporter.formats.gguf.types:Q4_K_M",
    "q4_0": "exporter.formats.gguf.types:Q4_0",
    "iq4_nl": "exporter.formats.gguf.types:IQ4_NL",
}

GGUF_PLANS: Mapping[str, str] = {
    "embedding": "exporter.formats.gguf.plan:EMBEDDING",
    "upstream": "exporter.formats.gguf.plan:UPSTREAM",
}

ENCODERS: Mapping[str, str] = {
    "onnx": "exporter.formats.onnx.runtime:OnnxEncoder",
    "gguf": "exporter.formats.gguf.runtime:LlamaCppEncoder",
    "openvino": "exporter.formats.openvino.runtime:OpenVinoEncoder",
}

KERNELS: Mapping[str, str] = {"gguf": "exporter.formats.gguf.llamacpp_kernels:kernels"}
"""Artifact kinds whose vectors depend on which of their runtime's kernels run, and what names
them."""

PACKAGE_VERIFIERS: Mapping[str, str] = {
    "ollama": "exporter.packages.ollama.verifier:verify_gguf",
    "transformersjs": "exporter.packages.transformersjs.verifier:verify_transformersjs",
    "onnxruntime": "exporter.packages.onnxruntime.verifier:verify_onnxruntime",
    "openvino": "exporter.packages.openvino.verifier:verify_openvino",
    "sentence-transformers": "exporter.packages.sentence_transformers.verifier:verify_files",
}

PACKAGERS: Mapping[str, str] = {
    "ollama": "exporter.packages.ollama.packager:PACKAGER",
    "transformersjs": "exporter.packages.transformersjs.packager:PACKAGER",
    "onnxruntime": "exporter.packages.onnxruntime.packager:PACKAGER",
    "openvino": "exporter.packages.openvino.packager:PACKAGER",
    "sentence-transformers": "exporter.packages.sentence_transformers.packager:PACKAGER",
}

ALL_REGISTRIES: Mapping[str, Mapping[str, str]] = {
    "model type": FAMILIES,
    "ONNX scheme": ONNX_SCHEMES,
    "ONNX graph": ONNX_GRAPHS,
    "ONNX flavour": ONNX_FLAVOURS,
    "GGUF type": GGUF_TYPES,
    "GGUF plan": GGUF_PLANS,
    "artifact kind": ENCODERS,
    "kernels": KERNELS,
    "package": PACKAGERS,
    "package verifier": PACKAGE_VERIFIERS,
}


def resolve(registry: Mapping[str, str], name: str, *, kind: str) -> Any:
    """Import and return the object registered as `name`. Raises BadInput for an unknown name."""
    if name not in registry:
        raise unknown_name(kind, name, registry)
    module, _, attribute = registry[name].partition(":")
    return getattr(import_module(module), attribute)
