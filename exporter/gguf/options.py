"""What beside its type decides a GGUF, and which of it goes together."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.calibration.head import Choice
from exporter.calibration.texts import read_calibration
from exporter.errors import BadInput, MissingDependency

IMATRIX_CHOICES = ("auto", "on", "off")


@dataclass(frozen=True)
class GgufOptions:
    """What beside its type decides a GGUF.

    `imatrix`: `on`, `off`, `auto` (types below 8 bits), or the path of an importance matrix.
    `embedding_type`: of the table, under the plan `embedding`. `prompt_keys`: prompts and dims as
    keys under `lawvault.`.
    """

    plan: str = "embedding"
    embedding_type: str | None = None
    imatrix: str = "auto"
    calibration: Path | None = None
    head_correction: Choice = "auto"
    prompt_keys: bool = False


DEFAULTS = GgufOptions()


def check_options(kind: Any, plan: Any, options: GgufOptions) -> list[str] | None:
    """Refuse what does not go together. Returns the calibration texts where any are needed."""
    from exporter.gguf.ggml import require_ggml
    from exporter.gguf.types import PLAIN

    needed = {kind.matrix, kind.narrow, kind.better, getattr(plan, "table", None)} - {None}
    if kind.quantized and needed - PLAIN:
        require_ggml()
    if options.embedding_type is not None and not kind.quantized:
        raise BadInput(f"--type {kind.name} stores the table as all else; leave --embedding-type "
                       "out")  # fmt: skip
    if options.imatrix not in ("auto", "off") and not kind.quantized:
        raise BadInput(f"--type {kind.name} rounds nothing by importance; leave --imatrix out")
    if kind.name == "f16":
        return None  # `check_fp16_inputs` reads the texts
    measured = options.imatrix == "on" or (
        options.imatrix == "auto" and kind.calibrated and plan.name == "embedding"
    )
    if not measured:
        if options.calibration is not None:
            raise BadInput(
                f"--calibration has nothing to measure for --type {kind.name} with --plan "
                f"{plan.name} and --imatrix {options.imatrix}; pass --imatrix on, or leave it out"
            )
        return None
    if importlib.util.find_spec("torch") is None:
        raise MissingDependency("torch", extra="torch")
    return read_calibration(options.calibration)


def by_llama_quantize(kind: Any, plan: Any) -> bool:
    """Say whether llama-quantize itself makes the file."""
    from exporter.gguf.types import PLAIN

    return plan.name == "upstream" and kind.matrix not in PLAIN


def libraries(kind: Any, plan: Any, *, measured: bool) -> tuple[str, ...]:
    """Return the distributions that decide the bytes."""
    from exporter.gguf.types import PLAIN

    chosen = {kind.matrix, kind.narrow, kind.better, getattr(plan, "table", None)} - {None}
    found: tuple[str, ...] = ("gguf", "numpy", "sentencepiece")
    if kind.quantized and chosen - PLAIN:
        found += ("llama-cpp-python",)
    return found + (("torch",) if measured else ())


def variant(options: GgufOptions) -> str:
    """Return what tells two artifacts of one type apart, for the artifact's name."""
    found = [] if options.plan == "embedding" else [options.plan]
    return "-".join([*found, *([options.embedding_type] if options.embedding_type else [])])


def recorded(options: GgufOptions, *, imatrix: bool) -> dict[str, str]:
    """Return the options as the manifest has them."""
    found = {"plan": options.plan, "imatrix": "used" if imatrix else "none"}
    if options.embedding_type is not None:
        found["embedding_type"] = options.embedding_type
    if options.prompt_keys:
        found["prompt_keys"] = "written"
    return found
