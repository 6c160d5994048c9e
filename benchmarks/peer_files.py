"""How each peer makes its file and runs it, for the benchmarks that put them side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Run = Callable[[Ids, Ids], npt.NDArray[np.float32]]
CALIBRATION_TEXTS = 64


@dataclass(frozen=True)
class Peer:
    """`export(checkpoint, folder)` writes, `load(folder)` returns what runs; `after`: peers whose
    folder it starts from; `needs`: distributions."""

    export: Callable[[Path, Path], None]
    load: Callable[[Path], Run]
    after: str = ""
    needs: tuple[str, ...] = ()


def ours(quant: str, **options: Any) -> Callable[[Path, Path], None]:
    def export(checkpoint: Path, folder: Path) -> None:
        from exporter.checkpoint.read import read_checkpoint
        from exporter.corpus.calibration import read_calibration
        from exporter.onnx.export import export_onnx

        chosen = dict(options)
        if quant in ("int8", "q4", "fp16"):
            texts = folder.parent / "calibration.txt"
            texts.write_text("\n".join(read_calibration(None)[:CALIBRATION_TEXTS]), "utf-8")
            chosen["calibration"] = texts
        export_onnx(read_checkpoint(checkpoint), folder, quant=quant, **chosen)

    return export


def ours_openvino(quant: str) -> Callable[[Path, Path], None]:
    def export(checkpoint: Path, folder: Path) -> None:
        from exporter.checkpoint.read import read_checkpoint
        from exporter.openvino.export import export_openvino

        export_openvino(read_checkpoint(checkpoint), folder, quant=quant)

    return export


def session(folder: Path, file: str = "model.onnx") -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    loaded = onnxruntime.InferenceSession(str(folder / file), options, ["CPUExecutionProvider"])
    names = {i.name for i in loaded.get_inputs()}

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        feed = {name: value for name, value in feed.items() if name in names}
        return np.asarray(loaded.run(["sentence_embedding"], feed)[0])

    return run


def optimum_fp32(checkpoint: Path, folder: Path) -> None:
    from exporter.checkpoint.read import read_checkpoint
    from exporter.onnx.export import export_onnx

    export_onnx(read_checkpoint(checkpoint), folder, graph="traced")


def optimum_int8(source: Path, folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder.mkdir(parents=True)
    quantize_dynamic(
        source / "model.onnx", folder / "model.onnx", per_channel=True, weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )  # fmt: skip


def st_int8(checkpoint: Path, folder: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    model = SentenceTransformer(
        str(checkpoint), backend="onnx", device="cpu",
        model_kwargs={"provider": "CPUExecutionProvider", "export": True},
    )  # fmt: skip
    with torch.inference_mode():
        folder.mkdir(parents=True)
        model.save_pretrained(str(folder))
        export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(folder))


def load_st(folder: Path) -> Run:
    import torch
    from sentence_transformers import SentenceTransformer

    files = [p.name for p in (folder / "onnx").glob("*quint8*.onnx")] or [
        p.name for p in (folder / "onnx").glob("model_q*.onnx")
    ]
    model = SentenceTransformer(
        str(folder), backend="onnx", device="cpu",
        model_kwargs={"file_name": f"onnx/{files[0]}", "provider": "CPUExecutionProvider"},
    )  # fmt: skip

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return model(features(ids, mask))["sentence_embedding"].numpy()

    return run


def features(ids: Ids, mask: Ids) -> dict[str, Any]:
    import torch

    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def copy(source: Path, folder: Path) -> None:
    """OpenVINO and torch read what is there already."""
    folder.mkdir(parents=True)
    (folder / "source").symlink_to(source)


def load_openvino(folder: Path) -> Run:
    import openvino

    found = folder / "model.xml"
    core = openvino.Core()
    model = core.read_model(found if found.is_file() else folder / "source" / "model.onnx")
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = {port.get_any_name() for port in compiled.inputs}

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        result = compiled({k: v for k, v in feed.items() if k in names})
        return np.asarray(result["sentence_embedding"])

    return run


def nncf_int8(source: Path, folder: Path) -> None:
    import nncf
    import openvino
    from tokenizers import Tokenizer

    from exporter.corpus.calibration import read_calibration

    model = openvino.Core().read_model(source / "model.onnx")
    names = {port.get_any_name() for port in model.inputs}
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()

    def feed(text: str) -> dict[str, Ids]:
        ids = np.array([tokenizer.encode(text).ids[:512]], np.int64)
        given = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
        return {k: v for k, v in given.items() if k in names}

    texts = read_calibration(None)[:CALIBRATION_TEXTS]
    quantized = nncf.quantize(
        model, nncf.Dataset(texts, feed), model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED, subset_size=len(texts),
    )  # fmt: skip
    folder.mkdir(parents=True)
    openvino.save_model(quantized, folder / "model.xml", compress_to_fp16=False)


def round_to_nearest(source: Path, folder: Path) -> None:
    """Write 4 bits as transformers.js' conversion script does: block 32, matrices and table."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    config = DefaultWeightOnlyQuantConfig(
        block_size=32, is_symmetric=True, accuracy_level=4,
        op_types_to_quantize=("MatMul", "Gather"), quant_axes=(("MatMul", 0), ("Gather", 1)),
    )  # fmt: skip
    quantizer = MatMulNBitsQuantizer(onnx.load(source / "model.onnx"), algo_config=config)
    quantizer.process()
    folder.mkdir(parents=True)
    quantizer.model.save_model_to_file(str(folder / "model.onnx"), use_external_data_format=True)


def plain_float16(source: Path, folder: Path) -> None:
    """Cast everything to float16, as optimum and transformers.js do."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    folder.mkdir(parents=True)
    made = convert_float_to_float16(
        onnx.load(source / "model.onnx"), keep_io_types=True, disable_shape_infer=True
    )
    onnx.save(made, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data")


def upstream_gguf(type_name: str) -> Callable[[Path, Path], None]:
    """Return what writes the file of llama.cpp's own tools, byte for byte (a test compares)."""

    def export(checkpoint: Path, folder: Path) -> None:
        from exporter.checkpoint.read import read_checkpoint
        from exporter.gguf.export import export_gguf
        from exporter.gguf.options import GgufOptions

        export_gguf(read_checkpoint(checkpoint), folder, type_name=type_name,
                    options=GgufOptions(plan="upstream"))  # fmt: skip

    return export


def ours_gguf(type_name: str) -> Callable[[Path, Path], None]:
    def export(checkpoint: Path, folder: Path) -> None:
        from exporter.checkpoint.read import read_checkpoint
        from exporter.gguf.export import export_gguf
        from exporter.gguf.options import GgufOptions

        export_gguf(read_checkpoint(checkpoint), folder, type_name=type_name,
                    options=GgufOptions(imatrix="on"))  # fmt: skip

    return export


def load_gguf(folder: Path) -> Run:
    from exporter.runtimes.llamacpp import LlamaCppEncoder

    encoder = LlamaCppEncoder(folder)

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        rows = [row[seen.astype(bool)].tolist() for row, seen in zip(ids, mask, strict=True)]
        return encoder.encode_ids(rows)

    return run


def load_torch(folder: Path) -> Run:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str((folder / "source").resolve()), device="cpu", model_kwargs={"torch_dtype": "float32"}
    )

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return model(features(ids, mask))["sentence_embedding"].numpy()

    return run


PEERS: Mapping[str, Peer] = {
    "torch fp32": Peer(copy, load_torch, needs=("sentence-transformers",)),
    "ours fp32": Peer(ours("none"), session),
    "ours fp32 cpu23": Peer(ours("none", flavour="cpu23"), session),
    "ours int8": Peer(ours("int8", head_correction="off"), session),
    "ours int8 cpu23": Peer(ours("int8", head_correction="off", flavour="cpu23"), session),
    "ours int8 corrected": Peer(ours("int8", head_correction="on"), session),
    "ours q4": Peer(ours("q4", head_correction="off"), session),
    "optimum fp32": Peer(optimum_fp32, session, needs=("optimum-onnx",)),
    "optimum int8": Peer(optimum_int8, session, after="optimum fp32", needs=("optimum-onnx",)),
    "sentence-transformers int8": Peer(st_int8, load_st, needs=("optimum-onnx",)),
    "llama.cpp f32": Peer(upstream_gguf("f32"), load_gguf, needs=("llama-cpp-python",)),
    "llama.cpp q8_0": Peer(upstream_gguf("q8_0"), load_gguf, needs=("llama-cpp-python",)),
    "ours OpenVINO fp32": Peer(ours_openvino("none"), load_openvino, needs=("openvino",)),
    "ours OpenVINO int8": Peer(ours_openvino("int8"), load_openvino, needs=("openvino",)),
    "OpenVINO fp32": Peer(copy, load_openvino, after="optimum fp32", needs=("openvino",)),
    "OpenVINO NNCF int8": Peer(
        nncf_int8, load_openvino, after="optimum fp32", needs=("openvino", "nncf")
    ),
}  # fmt: skip

# For quality alone: nobody chooses these for speed on a CPU.
ROUGH: Mapping[str, Peer] = {
    "ours fp16": Peer(ours("fp16"), session),
    "ours q4 corrected": Peer(ours("q4", head_correction="auto"), session),
    "ours gguf q8_0": Peer(ours_gguf("q8_0"), load_gguf, needs=("llama-cpp-python",)),
    "ours gguf q4_k_m": Peer(ours_gguf("q4_k_m"), load_gguf, needs=("llama-cpp-python",)),
    "optimum plain fp16": Peer(
        plain_float16, session, after="optimum fp32", needs=("optimum-onnx",)
    ),
    "optimum 4 bits to nearest": Peer(
        round_to_nearest, session, after="optimum fp32", needs=("optimum-onnx", "onnx-ir")
    ),
    "llama.cpp q4_k_m": Peer(upstream_gguf("q4_k_m"), load_gguf, needs=("llama-cpp-python",)),
}


def installed_names() -> set[str]:
    """Return the names of the installed distributions, as `Peer.needs` spells them."""
    return {d.metadata["Name"].lower().replace("_", "-") for d in metadata.distributions()}
