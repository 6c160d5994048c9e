"""What beside its type decides a GGUF, and which of it goes together."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.corpus.calibration import CalibrationText, read_calibration
from exporter.errors import BadInput, require
from exporter.format import parse_size
from exporter.formats.gguf.format import FORMAT
from exporter.formats.gguf.names import PLANS, TYPES
from exporter.registry import resolve


@dataclass(frozen=True)
class GgufOptions:
    """What beside its type decides a GGUF.

    `imatrix`: whether weights are rounded on calibration text: `on`, `off`, `auto` (types below 8
    bits), or the path of an importance matrix, which is then all that is used.
    `budget`: of the type `mixed`, the most bytes of the file, as `150MB`. `embedding_type`: of
    the table, under the plan `embedding`. `prompt_keys`: prompts and dims as
    keys under `lawvault.`.
    """

    plan: str = "embedding"
    embedding_type: str | None = None
    imatrix: str = "auto"
    calibration: Path | None = None
    prompt_keys: bool = False
    budget: str | None = None


DEFAULTS = GgufOptions()


def check_type_and_options(
    type_name: str, options: GgufOptions
) -> tuple[Any, Any, list[CalibrationText] | None]:
    """Refuse what is unknown or does not go together, or needs what is not installed.

    Returns the type, the plan, and the calibration texts, None where nothing is to be measured.
    Raises BadInput or MissingDependency.
    """
    gguf_type, plan, measured = _checked(type_name, options)
    return gguf_type, plan, read_calibration(options.calibration) if measured else None


def _checked(type_name: str, options: GgufOptions) -> tuple[Any, Any, bool]:
    """Return the type, the plan, and whether texts are measured; none are read for it."""
    require("gguf")
    from exporter.formats.gguf.ggml import require_ggml

    gguf_type = resolve(TYPES, FORMAT.scheme(type_name), what="--type")
    plan = resolve(PLANS, options.plan, what="--plan")
    if options.budget is not None:
        _check_with_budget(options)
    if options.embedding_type is not None:
        plan = plan.with_table(options.embedding_type)
    if by_llama_quantize(gguf_type, plan):
        require_ggml()
    if options.embedding_type is not None and not gguf_type.quantized:
        raise BadInput(
            f"--type {gguf_type.name} stores the table as all else; leave --embedding-type out"
        )
    if options.imatrix not in ("auto", "off") and not gguf_type.quantized:
        raise BadInput(f"--type {gguf_type.name} rounds nothing by importance; leave --imatrix out")
    if gguf_type.name == "f16":
        return gguf_type, plan, False  # `check_fp16_inputs` reads the texts
    measured = options.imatrix == "on" or (
        options.imatrix == "auto" and gguf_type.calibrated and plan.name == "embedding"
    )
    if measured:
        require("torch")
    elif options.calibration is not None:
        raise BadInput(
            f"--calibration has nothing to measure for --type {gguf_type.name} with --plan "
            f"{plan.name} and --imatrix {options.imatrix}; pass --imatrix on, or leave it out"
        )
    return gguf_type, plan, measured


def _check_with_budget(options: GgufOptions) -> None:
    """Refuse what would choose types, or round, in another way than a budget does."""
    parse_size(options.budget or "")
    for name, value, only in (
        ("plan", options.plan, ("embedding",)),
        ("embedding-type", options.embedding_type, (None,)),
        ("imatrix", options.imatrix, ("auto", "on")),
    ):
        if value not in only:
            raise BadInput(
                f"--{name} {value} does not go with --budget, which chooses every tensor's type on "
                f"calibration texts; leave --{name} out"
            )


def calibrates(scheme: str, options: Mapping[str, Any]) -> bool:
    """Return whether the file is fitted on calibration texts. Raises BadInput or MissingDependency
    for options that do not go together."""
    calibration = options.get("calibration")
    given = FORMAT.given(
        {
            name: value
            for name, value in options.items()
            if value is not None and name != "calibration"
        }
    )
    return _checked(scheme, GgufOptions(**given, calibration=calibration))[2]


def by_llama_quantize(gguf_type: Any, plan: Any) -> bool:
    """Say whether llama-quantize itself makes the file."""
    from exporter.formats.gguf.types import PLAIN

    return plan.name == "upstream" and gguf_type.matrix not in PLAIN


def libraries(gguf_type: Any, plan: Any, *, measured: bool) -> tuple[str, ...]:
    """Return the distributions that decide the bytes."""
    found: tuple[str, ...] = ("gguf", "numpy", "sentencepiece")
    if by_llama_quantize(gguf_type, plan):
        found += ("llama-cpp-python",)
    return found + (("torch",) if measured else ())


def variant(options: GgufOptions) -> str:
    """Return what tells two artifacts of one type apart, for the artifact's name."""
    found = [] if options.plan == "embedding" else [options.plan]
    found += [value for value in (options.embedding_type, options.budget) if value]
    return "-".join(found)


def recorded(options: GgufOptions, *, rounding: str) -> dict[str, str]:
    """Return the options as the manifest has them."""
    found = {"plan": options.plan, "rounding": rounding}
    if options.budget is not None:
        found["budget"] = options.budget
    if options.embedding_type is not None:
        found["embedding_type"] = options.embedding_type
    if options.prompt_keys:
        found["prompt_keys"] = "written"
    return found
