"""Recipes: TOML files that say what to export, on which corpus to judge it, and by which limits."""

import difflib
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError
from pydantic import model_validator as validator

from exporter.checkpoint.records import Prompts, WindowChoice
from exporter.errors import BadInput
from exporter.records import Record

PrecisionClass = Literal["fp32", "16bit", "8bit", "6bit", "4bit"]
CLASS_OF_SCHEME: dict[str, PrecisionClass] = {
    "fp32": "fp32", "f32": "fp32", "f16": "16bit", "bf16": "16bit", "fp16": "16bit",
    "int8": "8bit", "q8_0": "8bit", "q4": "4bit", "q4f16": "4bit", "q4_0": "4bit", "q4_k_m": "4bit",
    "iq4_nl": "4bit", "q5_k_m": "6bit", "q6_k": "6bit",
}  # fmt: skip
Way = Literal["both", "queries", "documents"]
DEFAULT_MARGIN: dict[PrecisionClass, float] = {
    "fp32": 0.01, "16bit": 0.01, "8bit": 0.01, "6bit": 0.01, "4bit": 0.02,
}  # fmt: skip


class Limits(Record):
    """What an artifact of one precision must reach, at each dim."""

    cosine_p1_min: StrictFloat = Field(ge=-1, le=1)
    """Least 1st percentile of the cosine to the fp32 reference over all texts."""
    overlap_at_10_min: StrictFloat = Field(ge=0, le=1)
    """Least mean share of the fp32 reference's ten first documents that are found again."""
    mrr_at_10_margin: StrictFloat = Field(gt=0, le=1)
    """Non-inferiority margin: how much MRR@10 may be lost against the bf16 reference."""
    companions_error_max: StrictFloat = Field(default=1e-6, ge=0, le=2)
    """How far, as 1 - cosine, a text's vector may move with the other texts of its batch at equal
    padded length. Rounding in float32 moves it by 1e-7; a scale taken over a batch by 1e-3."""
    reason: StrictStr = ""
    """Why a margin is wider than the default of its class. Required then."""


OPTIONS_OF_KIND = {"flavour": "onnx", "plan": "gguf", "embedding_type": "gguf", "imatrix": "gguf"}


class ArtifactSpec(Record):
    """One artifact of a release: what to export, whether it must pass, what to make of it."""

    kind: Literal["onnx", "gguf", "openvino"]
    scheme: StrictStr
    required: StrictBool = True
    packages: tuple[StrictStr, ...] = ()
    flavour: Literal["portable", "web", "cpu23"] = "portable"
    """ONNX: what the graph is written for. See `export onnx --flavour`."""
    plan: Literal["embedding", "upstream"] = "embedding"
    """GGUF: whose choice of types. See `export gguf --plan`."""
    embedding_type: StrictStr | None = None
    """GGUF: type of the embedding table, where it is not to have 8 bits."""
    imatrix: Literal["auto", "on", "off"] = "auto"
    """GGUF: whether calibration text decides the rounding. auto: below 8 bits."""

    @property
    def name(self) -> str:
        """Return the name of the artifact's folder."""
        plan = "" if self.plan == "embedding" else self.plan
        flavour = "" if self.flavour == "portable" else self.flavour
        parts = [self.kind, self.scheme, flavour, plan]
        return "-".join(part for part in [*parts, self.embedding_type or ""] if part)

    @validator(mode="after")
    def _options_belong_to_one_kind(self) -> "ArtifactSpec":
        default = ArtifactSpec.model_construct(kind=self.kind, scheme=self.scheme)
        for key, kind in OPTIONS_OF_KIND.items():
            if self.kind != kind and getattr(self, key) != getattr(default, key):
                raise ValueError(f"{key} belongs to artifacts of kind {kind}")
        return self


class Recipe(Record):
    """A whole recipe. Unknown keys are refused."""

    schema_version: Literal[1]
    checkpoint: StrictStr | None = None
    window: WindowChoice = "as-saved"
    corpus: StrictStr
    prompts: Prompts = Prompts()
    bootstrap_resamples: StrictInt = Field(default=10_000, ge=1_000, le=1_000_000)
    seed: StrictInt = 0
    ways: tuple[Way, ...] = Field(default=("both", "queries", "documents"), min_length=1)
    """The ways of deployment whose MRR@10 is judged; all three are always measured."""
    pool: StrictInt | None = Field(default=None, ge=0)
    """How many first documents of each question each chooser puts into the pool that is judged. 0:
    the whole corpus is. None: the whole, or a pool where that would take over ten minutes."""
    calibration: StrictStr = "bundled"
    """What schemes that run the model are fitted on: `bundled` texts, texts of the `corpus` that
    is judged on, judged questions kept out, or a path as `--calibration` takes it."""
    limits: dict[PrecisionClass, Limits]
    artifacts: tuple[ArtifactSpec, ...] = Field(min_length=1)

    @validator(mode="after")
    def _wider_margins_have_reasons(self) -> "Recipe":
        for name, limits in self.limits.items():
            if limits.mrr_at_10_margin > DEFAULT_MARGIN[name] and not limits.reason.strip():
                raise ValueError(
                    f"limits.{name}.mrr_at_10_margin {limits.mrr_at_10_margin} is wider than "
                    f"{DEFAULT_MARGIN[name]}; give limits.{name}.reason"
                )
        for spec in self.artifacts:
            if spec.scheme not in CLASS_OF_SCHEME:
                known = ", ".join(CLASS_OF_SCHEME)
                raise ValueError(f"artifact scheme '{spec.scheme}' is unknown (known: {known})")
        names = [spec.name for spec in self.artifacts]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"artifact '{twice}' stands twice; keep one of them")
        return self

    def limits_for(self, scheme: str) -> Limits:
        """Return the limits of a scheme's precision. Raises BadInput where none are given."""
        name = CLASS_OF_SCHEME.get(scheme)
        if name is None or name not in self.limits:
            raise BadInput(
                f"the recipe has no limits for scheme '{scheme}'"
                + (f"; add [limits.{name}]" if name else "")
            )
        return self.limits[name]


def read_recipe(path: Path) -> Recipe:
    """Read and validate a recipe. Raises BadInput naming the file and the key."""
    if not path.is_file():
        raise BadInput(f"no such recipe: '{path}'; pass --recipe FILE.toml")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise BadInput(f"recipe '{path}' is not valid UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"recipe '{path}' is not valid TOML: {error}") from None
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise BadInput(f"recipe '{path}': {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    problems = error.errors()
    # An unknown key beside a missing one is nearly always that key, misspelt.
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    loc = [part for part in first["loc"] if part != "[key]"]
    where = ".".join(str(part) for part in loc) or "the recipe"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key" + _nearest(str(loc[-1]))
    if first["type"] in ("missing", "value_error"):
        return f"{where}: {message}"
    found = repr(first["input"])
    return f"{where}: {message}, not {found if len(found) <= 60 else found[:59] + '…'}"


def _nearest(key: str) -> str:
    known = [
        name for model in (Recipe, Limits, ArtifactSpec, Prompts) for name in model.model_fields
    ]
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f" (known: {', '.join(sorted(set(known)))})"
