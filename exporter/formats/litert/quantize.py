"""8 bits in a .tflite, by ai-edge-quantizer: LiteRT's own kernels round inputs row by row.

Weights have a scale an output channel, rows of the table a scale each; each row of a matrix' input
is rounded at run time. Large channels are moved and runs of 32 rotated beforehand, as for int8 in
ONNX (`exporter.quantization`).
"""

from pathlib import Path

EXACT = ".*(ExactRotation|ExactHead).*"
"""Names of what stays float32, from the classes of `exporter.formats.litert.model`."""


def quantize_file(source: Path, target: Path) -> None:
    """Write `target` from the float32 model `source`."""
    from ai_edge_quantizer import qtyping, quantizer

    made = quantizer.Quantizer(str(source))
    for operation in (
        qtyping.TFLOperationName.FULLY_CONNECTED,
        qtyping.TFLOperationName.EMBEDDING_LOOKUP,
    ):
        made.add_dynamic_config(
            regex=".*",
            operation_name=operation,
            num_bits=8,
            granularity=qtyping.QuantGranularity.CHANNELWISE,
        )
    made.update_quantization_recipe(
        regex=EXACT,
        operation_name=qtyping.TFLOperationName.FULLY_CONNECTED,
        algorithm_key="no_quantize",
    )
    made.quantize().export_model(str(target))
