"""The graph traced by optimum: for other architectures, and the check of the built graph."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput, MissingDependency
from exporter.formats.onnx.flavour import PORTABLE, Flavour
from exporter.formats.onnx.scheme import Scheme
from exporter.manifest import TensorRecord
from exporter.offline import offline


def export_traced(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    scheme: Scheme,
    dim: int,
    flavour: Flavour = PORTABLE,
    weights: None = None,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[TensorRecord, ...]:
    """Write model.onnx to `folder` through optimum, Pooling, Dense and Normalize inside.

    Raises BadInput for what tracing does not offer: quantization, a cut dim, a flavour, a repaired
    window.
    """
    check_traced(checkpoint, scheme=scheme, dim=dim, flavour=flavour)
    with offline():
        try:
            from optimum.exporters.onnx import main_export
        except ImportError:
            raise MissingDependency("optimum.exporters.onnx") from None
        logging.getLogger("optimum").setLevel(logging.ERROR)
        noise = io.StringIO()
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(noise),
            contextlib.redirect_stderr(noise),
        ):
            warnings.simplefilter("ignore")
            try:
                main_export(
                    str(checkpoint.path),
                    folder,
                    task="sentence-similarity",
                    library_name="sentence_transformers",
                    local_files_only=True,
                    do_validation=False,
                    no_post_process=False,
                )
            except OSError:
                raise
            except Exception as error:  # whatever the tracer meets is its limit
                reason = " ".join(str(error).split())[:200]
                raise BadInput(
                    f"optimum cannot trace '{checkpoint.path}' (model_type "
                    f"'{checkpoint.model_type}': {reason}); only architectures that it knows "
                    "can be exported this way"
                ) from error
    records = _records(folder / "model.onnx")
    if on_progress is not None:
        on_progress(checkpoint.parameters)
    return records


def check_traced(
    checkpoint: Checkpoint, *, scheme: Scheme, dim: int, flavour: Flavour = PORTABLE
) -> None:
    """Raise BadInput for what `export_traced` cannot do."""
    if scheme.name != "fp32":
        raise BadInput(f"--graph traced writes float32 only, not '{scheme.name}'; use --quant fp32")
    if dim != checkpoint.dim:
        raise BadInput("--graph traced writes the full dim only; cut and normalise after encoding")
    if checkpoint.vocabulary is not None:
        raise BadInput("--graph traced keeps the whole table; leave --vocabulary out")
    if checkpoint.adapter is not None:
        raise BadInput(
            "--graph traced is of the files as saved, which do not hold the adapter; "
            "use --graph built"
        )
    if flavour is not PORTABLE:
        raise BadInput(
            f"--graph traced has plain operators only; leave --flavour {flavour.name} out"
        )
    if checkpoint.window_used != checkpoint.window_saved:
        raise BadInput(
            "--graph traced follows config.json as saved; use --graph built for --window repaired"
        )


def _records(path: Path) -> tuple[TensorRecord, ...]:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return tuple(
        TensorRecord(
            name=t.name,
            dtype=onnx.helper.tensor_dtype_to_np_dtype(t.data_type).name,
            shape=tuple(t.dims),
            bits_per_weight=8.0 * onnx.helper.tensor_dtype_to_np_dtype(t.data_type).itemsize,
        )
        for t in model.graph.initializer
    )
