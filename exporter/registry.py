"""The literal registries: a name, and where the object lives. Resolved lazily.

A new scheme, runtime or packager is one new file and one line here.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from exporter.errors import unknown_name

ONNX_SCHEMES: Mapping[str, str] = {
    "none": "exporter.onnx.scheme_fp32:SCHEME",
    "fp16": "exporter.onnx.scheme_fp16:SCHEME",
    "int8": "exporter.onnx.scheme_int8:SCHEME",
    "q4": "exporter.onnx.scheme_q4:SCHEME",
    "q4f16": "exporter.onnx.scheme_q4:SCHEME_F16",
}

ONNX_GRAPHS: Mapping[str, str] = {
    "built": "exporter.onnx.built:export_built",
    "traced": "exporter.onnx.traced:export_traced",
}

ONNX_FLAVOURS: Mapping[str, str] = {
    "portable": "exporter.onnx.flavour:PORTABLE",
    "web": "exporter.onnx.flavour:WEB",
    "cpu23": "exporter.onnx.flavour:CPU23",
}

GGUF_TYPES: Mapping[str, str] = {
    "f32": "exporter.gguf.types:F32",
    "f16": "exporter.gguf.types:F16",
    "bf16": "exporter.gguf.types:BF16",
    "q8_0": "exporter.gguf.types:Q8_0",
    "q6_k": "exporter.gguf.types:Q6_K",
    "q5_k_m": "exporter.gguf.types:Q5_K_M",
    "q4_k_m": "exporter.gguf.types:Q4_K_M",
    "q4_0": "exporter.gguf.types:Q4_0",
    "iq4_nl": "exporter.gguf.types:IQ4_NL",
}

GGUF_PLANS: Mapping[str, str] = {
    "embedding": "exporter.gguf.plan:EMBEDDING",
    "upstream": "exporter.gguf.plan:UPSTREAM",
}

ENCODERS: Mapping[str, str] = {
    "onnx": "exporter.runtimes.onnxruntime:OnnxEncoder",
    "gguf": "exporter.runtimes.llamacpp:LlamaCppEncoder",
    "openvino": "exporter.runtimes.openvino:OpenVinoEncoder",
}

KERNELS: Mapping[str, str] = {
    "gguf": "exporter.runtimes.llamacpp_kernels:kernels",
}
"""Artifact kinds whose vectors depend on which of their runtime's kernels run, and what names
them."""

PACKAGE_VERIFIERS: Mapping[str, str] = {
    "ollama": "exporter.package.verify_gguf:verify_gguf",
    "transformersjs": "exporter.package.verify_transformersjs:verify_transformersjs",
    "onnxruntime": "exporter.package.verify_onnxruntime:verify_onnxruntime",
    "openvino": "exporter.package.verify_openvino:verify_openvino",
    "sentence-transformers": "exporter.package.verify_sentence_transformers:verify_files",
}

PACKAGERS: Mapping[str, str] = {
    "ollama": "exporter.package.ollama:PACKAGER",
    "transformersjs": "exporter.package.transformersjs:PACKAGER",
    "onnxruntime": "exporter.package.onnxruntime:PACKAGER",
    "openvino": "exporter.package.openvino:PACKAGER",
    "sentence-transformers": "exporter.package.sentence_transformers:PACKAGER",
}

ALL_REGISTRIES: Mapping[str, Mapping[str, str]] = {
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
