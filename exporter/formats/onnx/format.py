"""ONNX: a graph with the whole pipeline inside, for onnxruntime and what is built on it."""

from collections.abc import Mapping

from exporter.format import Format, Option, Use
from exporter.formats.onnx.names import FLAVOURS, GRAPHS


def use(options: Mapping[str, str]) -> Use:
    """Return what a graph is for: one for browsers runs elsewhere too, but is made for them."""
    if options.get("flavour") == "web":
        return Use(
            "browsers and Node.js (transformers.js), ONNX Runtime",
            "Browsers, Node (transformers.js)",
        )
    return Use(
        "ONNX Runtime (Python, C++, C#, Java, Node.js)", "Python, servers, phones (ONNX Runtime)"
    )


FORMAT = Format(
    name="onnx",
    label="ONNX",
    summary="Write model.onnx with the whole pipeline inside: pooling, Dense, normalisation.",
    schemes={
        "fp32": "fp32",
        "fp16": "16bit",
        "int8": "8bit",
        "q4": "4bit",
        "q4f16": "4bit",
        "mixed": "4bit",
    },
    aliases={"none": "fp32"},
    scheme_option="--quant",
    default_scheme="fp32",
    options=(
        Option(
            "graph",
            "Built from the weights, or traced by optimum.",
            default="built",
            choices=tuple(GRAPHS),
        ),
        Option(
            "flavour",
            "Operators of onnxruntime 1.18, of browsers, or of opset 23.",
            default="portable",
            choices=tuple(FLAVOURS),
            in_recipe=True,
            in_name=True,
        ),
        Option(
            "budget",
            "The most bytes of the model, as 150MB: each tensor's width is chosen by what it costs "
            "the vector on calibration text.",
            metavar="SIZE",
            in_recipe=True,
            in_name=True,
        ),
        Option("dim", "Cut to a Matryoshka dim inside the graph.", value_type=int, in_name=True),
    ),
    export="exporter.formats.onnx.export:export_onnx",
    encoder="exporter.formats.onnx.runtime:OnnxEncoder",
    libraries=("onnxruntime", "onnxruntime-gpu"),
    export_needs=("onnx",),
    runtime_needs=("onnxruntime",),
    use=use,
    colours=("#0072b2", "#5db8f0"),
    first_look=True,
    snippet_language="python",
)
