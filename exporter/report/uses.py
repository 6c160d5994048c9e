"""Which file is for which use: what it runs in, and what its precision is good for."""

from collections.abc import Mapping

from exporter.recipe import CLASS_OF_SCHEME, PrecisionClass

RUNS_IN: Mapping[str, str] = {
    "onnx": "ONNX Runtime (Python, C++, C#, Java, Node.js)",
    "gguf": "llama.cpp, Ollama",
    "openvino": "OpenVINO",
}
GOOD_FOR: Mapping[PrecisionClass, str] = {
    "fp32": "the original's figures to the last digits; the largest",
    "16bit": "half of float32's size, hardly any error; GPUs",
    "8bit": "about a quarter of float32's size; servers and laptops without a GPU",
    "6bit": "between a quarter and a fifth of float32's size",
    "4bit": "the smallest download",
}


def runs_in(kind: str, *, flavour: str = "") -> str:
    """Return what loads an artifact of this kind; `flavour`: an ONNX graph's."""
    if (kind, flavour) == ("onnx", "web"):
        return "browsers and Node.js (transformers.js), ONNX Runtime"
    return RUNS_IN.get(kind, kind)


def good_for(scheme: str) -> str:
    """Return what a scheme's precision is good for; nothing for a scheme without a class."""
    found = CLASS_OF_SCHEME.get(scheme)
    return GOOD_FOR[found] if found else ""
