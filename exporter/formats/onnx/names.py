"""What an ONNX export is asked for by name, and where it lives. Resolved when it is asked for."""

from collections.abc import Mapping

SCHEMES: Mapping[str, str] = {
    "fp32": "exporter.formats.onnx.scheme_fp32:SCHEME",
    "fp16": "exporter.formats.onnx.scheme_fp16:SCHEME",
    "int8": "exporter.formats.onnx.scheme_int8:SCHEME",
    "q4": "exporter.formats.onnx.scheme_blocks:SCHEME",
    "q4f16": "exporter.formats.onnx.scheme_blocks:SCHEME_F16",
    "mixed": "exporter.formats.onnx.mixed:SCHEME",
}
GRAPHS: Mapping[str, str] = {
    "built": "exporter.formats.onnx.built:export_built",
    "traced": "exporter.formats.onnx.traced:export_traced",
}
FLAVOURS: Mapping[str, str] = {
    "portable": "exporter.formats.onnx.flavour:PORTABLE",
    "web": "exporter.formats.onnx.flavour:WEB",
    "cpu23": "exporter.formats.onnx.flavour:CPU23",
}
