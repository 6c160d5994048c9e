"""What a format says of itself, in `formats/NAME/format.py`: all that other code knows of it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from exporter.errors import BadInput, MissingDependency, require, unknown_name
from exporter.registry import FORMATS, resolve, resolve_place

CUT = "domain"
"""In the names of artifacts that hold a domain's vocabulary only."""
MIXED = "mixed"
"""The scheme whose widths `--budget` chooses."""
BUDGET = "budget"
"""The option that gives the bytes."""

UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

PrecisionClass = Literal["fp32", "16bit", "8bit", "6bit", "4bit"]


@dataclass(frozen=True)
class Option:
    """One option of an export beside its scheme. `choices`: all its values, none where any is
    taken; `metavar`: how its value is shown; `default` None: left out. `in_recipe`: whether a
    recipe may give it for an artifact."""

    name: str
    help: str
    default: Any = None
    value_type: type[Any] = str
    choices: tuple[str, ...] = ()
    metavar: str = ""
    in_recipe: bool = False
    in_name: bool = False
    """Whether its value tells two artifacts of one scheme apart, and stands in their names."""


@dataclass(frozen=True)
class Use:
    """What an artifact is for. `runs_in`: what loads it; `where`: who uses it, as a heading."""

    runs_in: str
    where: str


def _entry_alone(entry: str) -> tuple[str, ...]:
    return (entry,)


@dataclass(frozen=True)
class Format:
    """One kind of artifact. What imports a library is named as `module:attribute` and looked up
    when it is needed.

    `schemes`: how weights may be stored, and the class of precision by whose limits each is judged;
    `aliases`: other names of schemes. `scheme_option`: the option that names one. `export` is
    called with a checkpoint, a folder, `scheme`, `calibration`, `keep`, `force`, `stages` and the
    format's options; `encoder` with an artifact's folder and `threads`. `kernels` names which of
    its runtime's kernels run, where vectors depend on that. `libraries`: distributions that decide
    vectors. `model_files` of an entry: those that count as the model's size, with whatever begins
    with the entry's name.
    """

    name: str
    label: str
    summary: str
    schemes: Mapping[str, PrecisionClass]
    scheme_option: str
    default_scheme: str
    export: str
    encoder: str
    libraries: tuple[str, ...]
    use: Callable[[Mapping[str, str]], Use]
    colours: tuple[str, str]
    """In pages, on a light and a dark ground."""
    mark: Literal["circle", "square"] = "circle"
    export_needs: tuple[str, ...] = ()
    """Modules of extras that `export` imports; torch beside them where a scheme is fitted."""
    runtime_needs: tuple[str, ...] = ()
    """Those that `encoder` imports."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    options: tuple[Option, ...] = ()
    calibrates: str = ""
    """See `fitted`; nothing: every scheme but float32 is."""
    kernels: str = ""
    model_files: Callable[[str], tuple[str, ...]] = _entry_alone
    first_look: bool = False
    """Whether `release --quick` looks at its 8 bits."""
    snippet_language: str = ""
    """Of `templates/snippet.j2` in its folder, which the card shows; nothing: none."""

    def scheme(self, name: str) -> str:
        """Return a scheme's own name. Raises BadInput, naming those that there are."""
        found = self.aliases.get(name, name)
        if found not in self.schemes:
            raise unknown_name(self.scheme_option, name, self.schemes)
        return found

    def asked_for(self, scheme: str | None, options: Mapping[str, Any]) -> str:
        """Return the scheme that is meant: by its name, by a budget, or by default. Raises BadInput
        for what is unknown or does not go together."""
        budget = options.get(BUDGET)
        if budget is not None:
            parse_size(budget)
        if scheme is None:
            return self.default_scheme if budget is None else self.scheme(MIXED)
        found = self.scheme(scheme)
        if found == MIXED and budget is None:
            raise BadInput(f"{self.scheme_option} {MIXED} needs a size: --{BUDGET} 150MB")
        if found != MIXED and budget is not None:
            raise BadInput(f"--{BUDGET} chooses widths itself; leave {self.scheme_option} out")
        return found

    def fitted(self, scheme: str, options: Mapping[str, Any]) -> bool:
        """Return whether such an artifact is fitted on calibration texts. Raises BadInput or
        MissingDependency for what does not go together."""
        if not self.calibrates:
            return self.schemes[scheme] != "fp32"
        found: bool = self.resolve("calibrates")(scheme, options)
        return found

    def require(self, scheme: str, options: Mapping[str, Any]) -> None:
        """Raise MissingDependency, naming all, unless what such an export needs is installed."""
        try:
            fitted = self.fitted(scheme, options)
        except MissingDependency:  # only the format's own library knows
            require(*self.export_needs)
            raise
        require(*self.export_needs, *(("torch",) if fitted else ()))

    def given(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all of its options, the defaults included. Raises BadInput for another's."""
        known = {option.name: option.default for option in self.options}
        for name in options:
            if name not in known:
                raise unknown_name(f"option of {self.label}", name, known)
        return {**known, **options}

    def artifact_name(self, scheme: str, options: Mapping[str, Any], *, cut: bool) -> str:
        """Return the name of an artifact: format, scheme, and whatever tells it from others.
        `cut`: whether it has a vocabulary of its own."""
        parts = [self.name, scheme]
        for option in self.options:
            value = options.get(option.name, option.default)
            if option.in_name and value != option.default:
                shown = str(value).replace(" ", "")
                parts.append(f"{option.name}{shown}" if option.value_type is int else shown)
        return "-".join([*parts, *((CUT,) if cut else ())])

    def resolve(self, attribute: str) -> Any:
        """Return what `export`, `encoder`, `calibrates` or `kernels` names."""
        return resolve_place(getattr(self, attribute))


def parse_size(text: str) -> int:
    """Return bytes of `150MB` or `143MiB`. Raises BadInput."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    units = {unit.lower(): factor for unit, factor in UNITS.items()}
    if found is None or found[2].lower() not in units or float(found[1]) <= 0:
        raise BadInput(f"--budget {text!r} is no size; write it as 150MB or 143MiB")
    return int(float(found[1]) * units[found[2].lower()])


@cache
def format_of(name: str) -> Format:
    """Return a format by its name. Raises BadInput, naming those that there are."""
    found: Format = resolve(FORMATS, name, what="artifact format")
    return found


def all_formats() -> tuple[Format, ...]:
    """Return every format, in the order of the registry."""
    return tuple(format_of(name) for name in FORMATS)


def precision_classes() -> dict[str, PrecisionClass]:
    """Return the class of every scheme of every format: a name means one precision."""
    return {scheme: name for found in all_formats() for scheme, name in found.schemes.items()}
