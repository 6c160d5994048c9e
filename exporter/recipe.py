"""A recipe: which artifacts to make of a checkpoint, and the limits that each must keep.

TOML, data only. Every key is known and typed; whatever is wrong is named with its file and key.
"""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from exporter.checkpoint.records import Prompts, WindowChoice
from exporter.errors import BadInput

LimitClass = Literal["fp32", "16bit", "8bit", "4bit"]
LIMIT_CLASSES: tuple[LimitClass, ...] = get_args(LimitClass)
LARGEST_PLAIN_MARGIN = {"fp32": 0.01, "16bit": 0.01, "8bit": 0.01, "4bit": 0.02}
"""MRR@10 margins above these are a decision of their own and need a written reason."""


class StrictRecord(BaseModel):
    """A frozen record that takes no unknown key and turns no string into a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _dims(value: object) -> object:
    if value == "all":
        return value
    if isinstance(value, list) and value and all(type(v) is int and v > 0 for v in value):
        return tuple(sorted(set(value), reverse=True))
    raise ValueError("allowed is 'all' or a list of whole numbers from 1 up")


Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Dims = Annotated[Literal["all"] | tuple[int, ...], PlainValidator(_dims)]


class Limits(StrictRecord):
    """What an artifact of one precision class must keep.

    `cosine_p1_min`: 1st percentile of the cosines to torch fp32. `overlap_at_10_min`: mean share
    of torch fp32's ten best articles that are found again. `mrr_at_10_margin`: loss of MRR@10
    against torch bf16 that still counts as none.
    """

    cosine_p1_min: Share
    overlap_at_10_min: Share
    mrr_at_10_margin: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
    reason: str = ""


class ArtifactRecipe(StrictRecord):
    """One artifact to make. `limits` overrules the class read from its bits per weight."""

    kind: str
    scheme: str
    required: bool = True
    packages: Annotated[tuple[str, ...], Field(strict=False)] = ()
    dims: Dims = "all"
    limits: LimitClass | None = None

    @property
    def name(self) -> str:
        """As in manifest.json: `onnx-int8`."""
        return f"{self.kind}-{self.scheme}"


class Recipe(StrictRecord):
    """A whole recipe. `corpus` and a local `checkpoint` are absolute once read."""

    schema_version: Literal[1]
    corpus: str
    checkpoint: str | None = None
    window: WindowChoice = "as-saved"
    prompts: Prompts = Prompts()
    limits: dict[LimitClass, Limits]
    artifacts: Annotated[tuple[ArtifactRecipe, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _complete(self) -> "Recipe":
        missing = [name for name in LIMIT_CLASSES if name not in self.limits]
        if missing:
            raise ValueError(f"limits.{missing[0]} is missing; every class needs its limits")
        for name, limits in self.limits.items():
            plain = LARGEST_PLAIN_MARGIN[name]
            if limits.mrr_at_10_margin > plain and not limits.reason.strip():
                raise ValueError(
                    f"limits.{name}.mrr_at_10_margin is {limits.mrr_at_10_margin:g}, above "
                    f"{plain:g}; write into limits.{name}.reason why that much may be lost"
                )
        names = [artifact.name for artifact in self.artifacts]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"artifacts lists {twice[0]} twice; keep one")
        return self


def read_recipe(path: Path) -> Recipe:
    """Read and validate a recipe. Paths in it are relative to its folder.

    Raises BadInput naming file and key, what is allowed there, and the nearest known key.
    """
    if not path.is_file():
        raise BadInput(f"no such recipe: '{path}'; pass --recipe FILE.toml")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        where = f"'{path}' is not valid UTF-8 (byte {error.start})"
        raise BadInput(f"{where}; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"'{path}' is not valid TOML: {error}") from None
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise BadInput(f"'{path}': {_explain(error, data)}") from None
    folder = path.resolve().parent
    changed = {"corpus": str(folder / recipe.corpus)}
    # A name that is no folder beside the recipe is left as it is: it may be a hub id.
    if recipe.checkpoint is not None and (folder / recipe.checkpoint).exists():
        changed["checkpoint"] = str(folder / recipe.checkpoint)
    return recipe.model_copy(update=changed)


def _explain(error: ValidationError, data: Any) -> str:
    problems = error.errors()
    # An unknown key beside a missing one is nearly always the same key, misspelt.
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    loc = [part for part in first["loc"] if part != "[key]"]
    where = ".".join(f"[{part}]" if isinstance(part, int) else str(part) for part in loc)
    where = where.replace(".[", "[") or "recipe"
    kind, message = first["type"], first["msg"].removeprefix("Value error, ")
    message = message.replace("valid tuple", "list")
    if kind == "extra_forbidden":
        return f"unknown key '{where}'{_known(_model_at(loc[:-1]), str(loc[-1]))}"
    if kind == "missing":
        return f"key '{where}' is missing"
    if where.startswith("limits") and "[key]" in first["loc"]:
        return f"unknown class '{where}'{_suggest(str(loc[-1]), LIMIT_CLASSES)}"
    if where == "recipe":
        return message
    found = repr(_value_at(data, loc))
    found = found if len(found) <= 60 else found[:59] + "…"
    return f"'{where}' is {found}: {message[0].lower() + message[1:]}"


def _model_at(loc: list[Any]) -> type[BaseModel]:
    below: dict[str, type[BaseModel]] = {
        "prompts": Prompts, "limits": Limits, "artifacts": ArtifactRecipe,
    }  # fmt: skip
    return below.get(str(loc[0]), Recipe) if loc else Recipe


def _known(model: type[BaseModel], name: str) -> str:
    return _suggest(name, list(model.model_fields))


def _suggest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{hint} (known: {', '.join(known)})"


def _value_at(data: Any, loc: list[Any]) -> Any:
    for part in loc:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return data
    return data
