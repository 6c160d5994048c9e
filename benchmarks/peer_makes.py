"""How each peer makes its file: all from one checkpoint, all that calibrate from the same texts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter.checkpoint.contents import Checkpoint

GROUP = 64
"""Weights that share a scale in optimum-intel's 4 bits."""


@dataclass(frozen=True)
class Origin:
    """What a file is made from. `calibration`: texts as `--calibration` takes them, None for the
    bundled ones; `source`: the folder of the peer that this one starts from; `keep`: a folder for
    what this project's graphs of one scheme share."""

    checkpoint: Checkpoint
    calibration: Path | None
    source: Path | None = None
    keep: Path | None = None


Make = Callable[[Origin, Path], None]
"""Writes a folder that does not exist yet."""


def ours(quant: str, **options: Any) -> Make:
    """Return what writes this project's ONNX file."""

    def make(origin: Origin, folder: Path) -> None:
        from exporter.formats.onnx.export import export_onnx

        calibration = None if quant == "fp32" else origin.calibration
        export_onnx(
            origin.checkpoint,
            folder,
            scheme=quant,
            calibration=calibration,
            keep=origin.keep,
            **options,
        )

    return make


def ours_openvino(quant: str) -> Make:
    """Return what writes this project's OpenVINO files."""

    def make(origin: Origin, folder: Path) -> None:
        from exporter.formats.openvino.export import export_openvino

        calibration = None if quant == "fp32" else origin.calibration
        export_openvino(
            origin.checkpoint, folder, scheme=quant, calibration=calibration, keep=origin.keep
        )

    return make


def gguf(type_name: str, *, plan: str = "embedding") -> Make:
    """Return what writes a GGUF; under the plan `upstream` llama.cpp's own, byte for byte (tests
    compare), else this project's, fitted on the calibration texts."""

    def make(origin: Origin, folder: Path) -> None:
        from exporter.formats.gguf.export import export_gguf
        from exporter.formats.gguf.options import GgufOptions

        options = GgufOptions(plan=plan)
        if plan != "upstream":
            options = GgufOptions(plan=plan, imatrix="on", calibration=origin.calibration)
        export_gguf(origin.checkpoint, folder, scheme=type_name, **vars(options))

    return make


def copy(origin: Origin, folder: Path) -> None:
    """Point at what is there already, in another runtime or with other settings."""
    folder.mkdir(parents=True)
    (folder / "source").symlink_to((origin.source or origin.checkpoint.path).resolve())


def optimum_fp32(origin: Origin, folder: Path) -> None:
    """Write float32 as optimum traces it."""
    from exporter.formats.onnx.export import export_onnx

    export_onnx(origin.checkpoint, folder, graph="traced")


def optimum_int8(origin: Origin, folder: Path) -> None:
    """Write what optimum's quantizer writes: dynamic, a scale an output channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder.mkdir(parents=True)
    quantize_dynamic(
        _from(origin) / "model.onnx",
        folder / "model.onnx",
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )


def st_int8(origin: Origin, folder: Path) -> None:
    """Write what sentence-transformers' own export and quantization write."""
    import torch
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    kwargs = {"provider": "CPUExecutionProvider", "export": True}
    path = str(origin.checkpoint.path)
    model = SentenceTransformer(path, backend="onnx", device="cpu", model_kwargs=kwargs)
    with torch.inference_mode():
        folder.mkdir(parents=True)
        model.save_pretrained(str(folder))
        export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(folder))


def nncf_int8(origin: Origin, folder: Path) -> None:
    """Write NNCF's full int8, calibrated on our texts with their prompts."""
    import nncf
    import openvino

    from exporter.checkpoint.tokenizer import load_tokenizer
    from exporter.corpus.calibration import calibration_inputs, read_calibration

    checkpoint = origin.checkpoint
    model = openvino.Core().read_model(_from(origin) / "model.onnx")
    names = {port.get_any_name() for port in model.inputs}
    tokenizer = load_tokenizer(checkpoint.path / "tokenizer.json", max_tokens=checkpoint.max_tokens)

    def feed(text: str) -> dict[str, Any]:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        given = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
        return {name: value for name, value in given.items() if name in names}

    texts = calibration_inputs(read_calibration(origin.calibration), checkpoint.prompts)
    quantized = nncf.quantize(
        model,
        nncf.Dataset(texts, feed),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(texts),
    )
    _save(quantized, folder)


def intel_weights(mode: str, **options: Any) -> Make:
    """Return what writes optimum-intel's weight compression, which is one call of NNCF."""

    def make(origin: Origin, folder: Path) -> None:
        import nncf
        import openvino

        model = openvino.Core().read_model(_from(origin) / "model.onnx")
        chosen = getattr(nncf.CompressWeightsMode, mode)
        _save(nncf.compress_weights(model, mode=chosen, **options), folder)

    return make


def round_to_nearest(origin: Origin, folder: Path) -> None:
    """Write 4 bits as transformers.js' conversion script does: block 32, matrices and table."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    config = DefaultWeightOnlyQuantConfig(
        block_size=32,
        is_symmetric=True,
        accuracy_level=4,
        op_types_to_quantize=("MatMul", "Gather"),
        quant_axes=(("MatMul", 0), ("Gather", 1)),
    )
    model = onnx.load(_from(origin) / "model.onnx")
    quantizer = MatMulNBitsQuantizer(model, algo_config=config)
    quantizer.process()
    folder.mkdir(parents=True)
    quantizer.model.save_model_to_file(str(folder / "model.onnx"), use_external_data_format=True)


def plain_float16(origin: Origin, folder: Path) -> None:
    """Cast everything to float16, as optimum and transformers.js do."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    folder.mkdir(parents=True)
    model = onnx.load(_from(origin) / "model.onnx")
    made = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    onnx.save(made, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data")


def _from(origin: Origin) -> Path:
    assert origin.source is not None
    return origin.source


def _save(model: Any, folder: Path) -> None:
    import openvino

    folder.mkdir(parents=True)
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
