"""An ONNX artifact in onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.errors import BadInput, require
from exporter.manifest import Manifest, read_manifest
from exporter.runtimes.encoder import Vectors
from exporter.runtimes.graph_encoder import TOKEN_BUDGET, GraphEncoder
from exporter.runtimes.memory import release_memory

# TensorFloat32 keeps 10 bits of a product's mantissa: parity would measure that instead.
PROVIDERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("CUDAExecutionProvider", {"use_tf32": "0"}),
    ("CPUExecutionProvider", {}),
)


# The first release that reads the opset and the IR version of each flavour:
# https://onnxruntime.ai/docs/reference/compatibility.html
LEAST_VERSION = {"portable": "1.18", "web": "1.18", "cpu23": "1.23"}


def least_version(manifest: Manifest) -> str:
    """Return the first onnxruntime that reads this artifact."""
    return LEAST_VERSION.get(manifest.options.get("flavour", ""), LEAST_VERSION["portable"])


def check_version(manifest: Manifest, path: Path, *, version: str) -> None:
    """Raise BadInput where this onnxruntime is too old for the artifact, and name both."""
    least = least_version(manifest)
    if _numbers(version) < _numbers(least):
        raise BadInput(
            f"onnxruntime {version} is too old for '{path}', which needs {least} or newer; "
            "run: pip install -U onnxruntime"
        )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")[:2]]


class OnnxEncoder(GraphEncoder):
    """Encoder of an artifact folder written by `export onnx`, or of another folder with such a file
    (`file`: its name there) and the `manifest` of the artifact. See `runtimes.encoder.Encoder`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int | None = None,
        batch_tokens: int = TOKEN_BUDGET,
        manifest: Manifest | None = None,
        file: str | None = None,
    ) -> None:
        require("onnxruntime")
        import onnxruntime

        manifest = manifest or read_manifest(folder)
        path = folder / (file or manifest.entry)
        check_version(manifest, path, version=onnxruntime.__version__)
        super().__init__(folder, manifest, batch_tokens=batch_tokens)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        available = onnxruntime.get_available_providers()
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=[provider for provider in PROVIDERS if provider[0] in available],
            )
        except Exception as error:  # noqa: BLE001 - onnxruntime raises bare RuntimeErrors
            raise BadInput(
                f"onnxruntime {onnxruntime.__version__} cannot load '{path}' "
                f"({str(error).splitlines()[0]}); export it again"
            ) from None
        self._inputs = {i.name for i in self._session.get_inputs()}

    def _run(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Vectors:
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        feed = {name: value for name, value in feed.items() if name in self._inputs}
        vectors: Vectors = self._session.run(["sentence_embedding"], feed)[0]
        return vectors

    def close(self) -> None:
        del self._session, self._tokenizer
        release_memory()


def write_ort_format(model: Path, target: Path) -> None:
    """Write `model` as onnxruntime's own format, for its mobile builds: one file, no protobuf.

    Only rewritings that hold on every processor are done. The same model may give other bytes:
    onnxruntime writes initializers in the order of a hash table. Raises MissingDependency.
    """
    require("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(target)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
