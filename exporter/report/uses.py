"""Which file is for which use: what it runs in, and what its precision is good for."""

from collections.abc import Mapping

from exporter.format import PrecisionClass, Use, format_of, precision_classes

GOOD_FOR: Mapping[PrecisionClass, str] = {
    "fp32": "the original's figures to the last digits; the largest",
    "16bit": "half of float32's size, hardly any error; GPUs",
    "8bit": "about a quarter of float32's size; servers and laptops without a GPU",
    "6bit": "between a quarter and a fifth of float32's size",
    "4bit": "the smallest download",
}


def use_of(format: str, *, flavour: str = "") -> Use:
    """Return what an artifact of this format is for; `flavour`: an ONNX graph's."""
    return format_of(format).use({"flavour": flavour})


def runs_in(format: str, *, flavour: str = "") -> str:
    """Return what loads an artifact of this format."""
    return use_of(format, flavour=flavour).runs_in


def good_for(scheme: str) -> str:
    """Return what a scheme's precision is good for; nothing for a scheme without a class."""
    found = precision_classes().get(scheme)
    return GOOD_FOR[found] if found else ""
