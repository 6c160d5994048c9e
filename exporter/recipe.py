"""Recipes: TOML files that say what to export, on which corpus to judge it, and by which limits."""

import difflib
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError
from pydantic import model_validator as validator

from exporter.bundled import bundled
from exporter.checkpoint.contents import Prompts, WindowChoice
from exporter.checkpoint.prompts import check_templates
from exporter.errors import BadInput, unknown_name
from exporter.format import Format, PrecisionClass, format_of, precision_classes
from exporter.parsing import parse_toml
from exporter.records import Record
from exporter.registry import FORMATS

Way = Literal["both", "queries", "documents"]
WAYS: tuple[Way, ...] = ("both", "queries", "documents")
DEFAULT_MARGIN: dict[PrecisionClass, float] = {
    "fp32": 0.01,
    "16bit": 0.01,
    "8bit": 0.01,
    "6bit": 0.01,
    "4bit": 0.02,
}
BUNDLED = ("default", "lawvault", "demo")
"""The recipes that come with the tool, as --recipe names them."""
RELATIVE = 2
"""How many times an absolute margin a relative one may be: MRR@10 of lay questions is about 0.5."""


class Bounds(Record):
    """The limits of one way of deployment. None: as for all ways."""

    cosine_p1_min: StrictFloat | None = Field(default=None, ge=-1, le=1)
    overlap_at_10_min: StrictFloat | None = Field(default=None, ge=0, le=1)
    mrr_at_10_margin: StrictFloat | None = Field(default=None, gt=0, le=1)
    mrr_at_10_relative_margin: StrictFloat | None = Field(default=None, gt=0, le=1)

    @validator(mode="after")
    def _one_margin(self) -> "Bounds":
        if self.mrr_at_10_margin is not None and self.mrr_at_10_relative_margin is not None:
            raise ValueError("give mrr_at_10_margin or mrr_at_10_relative_margin, not both")
        return self


class WayBounds(Record):
    """What one way of deployment must reach. One of the margins is None."""

    cosine_p1_min: float
    overlap_at_10_min: float
    mrr_at_10_margin: float | None
    mrr_at_10_relative_margin: float | None


class Limits(Bounds):
    """What an artifact of one precision must reach, at each dim and in each way of deployment.

    All is against torch fp32. An artifact that is as near to it as torch bf16, which users run,
    is never refused for its cosine or overlap.
    """

    cosine_p1_min: StrictFloat = Field(ge=-1, le=1)
    """Least 1st percentile of the cosine, over the texts that the artifact embeds in this way."""
    overlap_at_10_min: StrictFloat = Field(ge=0, le=1)
    """Least mean share of fp32's ten first documents that are found again."""
    mrr_at_10_margin: StrictFloat | None = Field(default=None, gt=0, le=1)
    """Non-inferiority margin: how much MRR@10 may be lost."""
    mrr_at_10_relative_margin: StrictFloat | None = Field(default=None, gt=0, le=1)
    """The same as a share of fp32's own MRR@10. One of the two must be given."""
    both: Bounds | None = None
    queries: Bounds | None = None
    documents: Bounds | None = None
    """What differs in one way of deployment; only for ways that are judged."""
    companions_error_max: StrictFloat = Field(default=1e-6, ge=0, le=2)
    """How far, as 1 - cosine, a text's vector may move with the other texts of its batch at equal
    padded length. Rounding in float32 moves it by 1e-7; a scale taken over a batch by 1e-3."""
    reason: StrictStr = ""
    """Why a margin is wider than the default of its class. Required then."""

    @validator(mode="after")
    def _a_margin(self) -> "Limits":
        if self.mrr_at_10_margin is None and self.mrr_at_10_relative_margin is None:
            raise ValueError("give mrr_at_10_margin or mrr_at_10_relative_margin")
        return self

    def of(self, way: Way) -> WayBounds:
        """Return the limits of one way of deployment."""
        own: Bounds = getattr(self, way) or Bounds()

        def either(name: str) -> Any:
            given = getattr(own, name)
            return getattr(self, name) if given is None else given

        has_own = own.mrr_at_10_margin or own.mrr_at_10_relative_margin
        margins: Bounds = own if has_own else self
        return WayBounds(
            cosine_p1_min=either("cosine_p1_min"),
            overlap_at_10_min=either("overlap_at_10_min"),
            mrr_at_10_margin=margins.mrr_at_10_margin,
            mrr_at_10_relative_margin=margins.mrr_at_10_relative_margin,
        )


Language = Literal["en", "zh"]


class ArtifactSpec(Record):
    """One artifact of a release: what to export, whether it must pass, what to make of it."""

    format: StrictStr
    """A format's name: see `exporter.registry.FORMATS`."""
    scheme: StrictStr
    required: StrictBool = True
    packages: tuple[StrictStr, ...] = ()
    flavour: StrictStr | None = None
    """ONNX: what the graph is written for. See `export onnx --flavour`."""
    plan: StrictStr | None = None
    """GGUF: whose choice of types. See `export gguf --plan`."""
    embedding_type: StrictStr | None = None
    """GGUF: type of the embedding table, where it is not to have 8 bits."""
    imatrix: StrictStr | None = None
    """GGUF: whether calibration text decides the rounding. auto: below 8 bits."""
    budget: StrictStr | None = None
    """Of the scheme `mixed`: the most bytes of the model, as 150MB. See `export onnx --budget`."""
    vocabulary: StrictStr | None = None
    """A folder made by `lawvault vocabulary`, relative to the recipe's: only its pieces are kept.
    Its name then ends in -domain."""

    @property
    def format_record(self) -> Format:
        """Return the format's record."""
        return format_of(self.format)

    @property
    def options(self) -> dict[str, str]:
        """Return the options that are given, of its format's own."""
        values = {name: getattr(self, name) for name in OPTIONS}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def name(self) -> str:
        """Return the name of the artifact's folder."""
        return self.format_record.artifact_name(
            self.scheme, self.options, cut=self.vocabulary is not None
        )

    @validator(mode="after")
    def _known_to_its_format(self) -> "ArtifactSpec":
        if self.format not in FORMATS:
            raise ValueError(
                f"artifact format '{self.format}' is unknown (known: {', '.join(FORMATS)})"
            )
        if self.scheme not in self.format_record.schemes:
            known = ", ".join(self.format_record.schemes)
            raise ValueError(
                f"artifact scheme '{self.scheme}' is unknown for {self.format} (known: {known})"
            )
        taken = {option.name: option for option in self.format_record.options if option.in_recipe}
        for name, value in self.options.items():
            if name not in taken:
                raise ValueError(f"{name} does not belong to artifacts of format {self.format}")
            choices = taken[name].choices
            if choices and value not in choices:
                raise ValueError(f"{name} '{value}' is unknown (known: {', '.join(choices)})")
        try:
            self.format_record.asked_for(self.scheme, self.options)
        except BadInput as error:
            raise ValueError(str(error)) from None
        return self


OPTIONS = ("flavour", "plan", "embedding_type", "imatrix", "budget")
"""Keys of an artifact that belong to one format alone."""


class Recipe(Record):
    """A whole recipe. Unknown keys are refused."""

    schema_version: Literal[1]
    extends: StrictStr | None = None
    """Another recipe, a file beside this one or a bundled one's name, whose keys hold where this
    one gives none."""
    checkpoint: StrictStr | None = None
    window: WindowChoice = "as-saved"
    corpus: StrictStr
    prompts: Prompts | None = None
    """None: those that are saved with the checkpoint."""
    seed: StrictInt = Field(default=0, ge=0, lt=1 << 32)
    """Of the documents that a pool draws at random."""
    ways: tuple[Way, ...] = Field(default=("both", "queries", "documents"), min_length=1)
    """The ways of deployment that decide whether an artifact passes; all three are always measured,
    and each has its verdict."""
    pool: StrictInt | None = Field(default=None, ge=0)
    """How many first documents of each question each chooser puts into the pool that is judged. 0:
    the whole corpus is. None: the whole, or a pool where that would take over ten minutes."""
    language: Language = "en"
    """Of what lies in packages, so that their bytes do not depend on who runs the tool."""
    calibration: StrictStr = "bundled"
    """What schemes that run the model are fitted on: `bundled` texts, texts of the `corpus` that
    is judged on, judged questions kept out, or a path as `--calibration` takes it."""
    limits: dict[PrecisionClass, Limits]
    artifacts: tuple[ArtifactSpec, ...] = Field(min_length=1)

    @validator(mode="after")
    def _templates_name_fields(self) -> "Recipe":
        if self.prompts is not None:
            try:
                check_templates(self.prompts)
            except BadInput as error:
                raise ValueError(f"prompts.{error}") from None
        return self

    @validator(mode="after")
    def _wider_margins_have_reasons(self) -> "Recipe":
        for name, limits in self.limits.items():
            for way in WAYS:
                if getattr(limits, way) is not None and way not in self.ways:
                    raise ValueError(
                        f"limits.{name}.{way} is given, but '{way}' is not among the judged ways; "
                        "add it to ways, or take the limits out"
                    )
                _check_margin(name, way, limits)
        names = [spec.name for spec in self.artifacts]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"artifact '{twice}' is listed twice; keep one of them")
        return self

    def limits_for(self, scheme: str) -> Limits:
        """Return the limits of a scheme's precision. Raises BadInput where none are given."""
        name = precision_classes().get(scheme)
        if name is None or name not in self.limits:
            raise BadInput(
                f"the recipe has no limits for scheme '{scheme}'"
                + (f"; add [limits.{name}]" if name else "")
            )
        return self.limits[name]


def _check_margin(name: PrecisionClass, way: Way, limits: Limits) -> None:
    bounds, usual = limits.of(way), DEFAULT_MARGIN[name]
    for key, widest in (
        ("mrr_at_10_margin", usual),
        ("mrr_at_10_relative_margin", RELATIVE * usual),
    ):
        margin = getattr(bounds, key)
        if margin is not None and margin > widest and not limits.reason.strip():
            raise ValueError(
                f"limits.{name}.{key} {margin} is wider than {widest}; give limits.{name}.reason"
            )


def read_recipe(path: Path) -> Recipe:
    """Read and validate a recipe, and those that it extends.

    A key of the recipe replaces that of the one it extends; of `limits`, each precision's table
    does. Raises BadInput naming the file and the key.
    """
    try:
        return Recipe.model_validate(_read_toml(path, ()))
    except ValidationError as error:
        raise BadInput(f"recipe '{path}': {_explain(error)}") from None


def _read_toml(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    if not path.is_file():
        raise BadInput(f"no such recipe: '{path}'; pass --recipe FILE.toml")
    if path.resolve() in [other.resolve() for other in extending]:
        raise BadInput(f"recipe '{path}' extends itself; take the key 'extends' out")
    data = parse_toml(path.read_bytes(), f"recipe '{path}'", remedy="mend it")
    for artifact in data.get("artifacts") or ():
        if isinstance(artifact, dict) and isinstance(artifact.get("vocabulary"), str):
            artifact["vocabulary"] = str(path.parent / artifact["vocabulary"])
    base = data.get("extends")
    if not isinstance(base, str):
        return data
    file = path.parent / base
    if not file.is_file():
        try:
            file = bundled_recipe(base)
        except BadInput as error:
            raise BadInput(f"recipe '{path}': extends: {error}") from None
    under = _read_toml(file, (*extending, path))
    for key, words in (("corpus", ()), ("calibration", ("bundled", "corpus"))):
        if isinstance(under.get(key), str) and under[key] not in words:  # a path from its own file
            under[key] = os.path.relpath(file.parent / under[key], path.parent)
    if isinstance(data.get("limits", {}), dict) and isinstance(under.get("limits"), dict):
        data["limits"] = {**under["limits"], **data.get("limits", {})}
    return {**under, **data}


def recipe_file(named: str) -> Path:
    """Return the file that `named` means: a path, else a bundled recipe's name. Raises BadInput for
    what is neither by its look; a file that is missing is named when it is read."""
    path = Path(named)
    if path.is_file() or "/" in named or path.suffix == ".toml":
        return path
    return bundled_recipe(named)


def bundled_recipe(name: str) -> Path:
    """Return the file of a bundled recipe. Raises BadInput, naming them, for any other."""
    if name not in BUNDLED:
        raise unknown_name("recipe", name, BUNDLED)
    return bundled(f"recipes/{name}.toml")


def _explain(error: ValidationError) -> str:
    problems = error.errors()
    # An unknown key beside a missing one is nearly always that key, misspelt.
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    loc = [part for part in first["loc"] if part != "[key]"]
    where = ".".join(str(part) for part in loc) or "the recipe"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error" and not loc:
        return message
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key here" + _nearest(str(loc[-1]))
    if first["type"] in ("missing", "value_error"):
        return f"{where}: {message}"
    found = repr(first["input"])
    return f"{where}: {message}, not {found if len(found) <= 60 else found[:59] + '…'}"


def _nearest(key: str) -> str:
    known = [
        name for model in (Recipe, Limits, ArtifactSpec, Prompts) for name in model.model_fields
    ]
    if key in known:
        place = "an [[artifacts]] entry" if key in ArtifactSpec.model_fields else "another table"
        return f"; it belongs into {place}"
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f" (known: {', '.join(sorted(set(known)))})"
