"""How each kind of file is loaded and run, as its user would, on token ids."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Run = Callable[[Ids, Ids], npt.NDArray[np.float32]]
"""Given ids and mask, both (batch, sequence), padded on the right, returns (batch, dim)."""

OUTPUT = "sentence_embedding"


def inside(folder: Path) -> Path:
    """Return the folder that `peer_makes.copy` points at, or `folder`."""
    linked = folder / "source"
    return linked.resolve() if linked.is_symlink() else folder


def session(folder: Path) -> Run:
    """Run model.onnx in onnxruntime, whose defaults are its users'."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    loaded = onnxruntime.InferenceSession(
        str(inside(folder) / "model.onnx"), options, ["CPUExecutionProvider"]
    )
    names = {i.name for i in loaded.get_inputs()}

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        return np.asarray(loaded.run([OUTPUT], _feed(ids, mask, names))[0], np.float32)

    return run


def load_openvino(folder: Path) -> Run:
    """Run an IR or ONNX file with float parts in float32, as this project's runtime does."""
    return _openvino(folder, {"INFERENCE_PRECISION_HINT": "f32"})


def load_openvino_untouched(folder: Path) -> Run:
    """Run it with no property at all: in bfloat16 where the processor has it."""
    return _openvino(folder, {})


def _openvino(folder: Path, settings: dict[str, str]) -> Run:
    import openvino

    place = inside(folder)
    found = place / "model.xml"
    core = openvino.Core()
    model = core.read_model(found if found.is_file() else place / "model.onnx")
    compiled = core.compile_model(model, "CPU", settings)
    names = {port.get_any_name() for port in compiled.inputs}

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        # Its buffer is used again.
        return np.array(compiled(_feed(ids, mask, names))[OUTPUT], np.float32)

    return run


def load_st(folder: Path) -> Run:
    """Run the quantized file of a folder that sentence-transformers exported."""
    import torch
    from sentence_transformers import SentenceTransformer

    files = [p.name for p in (folder / "onnx").glob("*quint8*.onnx")] or [
        p.name for p in (folder / "onnx").glob("model_q*.onnx")
    ]
    kwargs = {"file_name": f"onnx/{files[0]}", "provider": "CPUExecutionProvider"}
    model = SentenceTransformer(str(folder), backend="onnx", device="cpu", model_kwargs=kwargs)

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return model(_features(ids, mask))[OUTPUT].numpy()

    return run


def load_gguf(folder: Path) -> Run:
    """Run a GGUF in llama.cpp, which is given no padding."""
    from exporter.formats.gguf.runtime import LlamaCppEncoder

    encoder = LlamaCppEncoder(inside(folder))

    def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        rows = [row[seen.astype(bool)].tolist() for row, seen in zip(ids, mask, strict=True)]
        return encoder.encode_ids(rows)

    return run


def torch_in(dtype: str) -> Callable[[Path], Run]:
    """Return what runs the checkpoint in sentence-transformers."""

    def load(folder: Path) -> Run:
        import torch
        from sentence_transformers import SentenceTransformer

        kwargs = {"dtype": getattr(torch, dtype)}
        model = SentenceTransformer(str(inside(folder)), device="cpu", model_kwargs=kwargs)

        def run(ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                return model(_features(ids, mask))[OUTPUT].float().numpy()

        return run

    return load


def _feed(ids: Ids, mask: Ids, names: set[str]) -> dict[str, Ids]:
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
    return {name: value for name, value in given.items() if name in names}


def _features(ids: Ids, mask: Ids) -> dict[str, Any]:
    import torch

    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
