"""Which tensor of the base each tensor of an adapter changes."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.checkpoint.adapters.changed import Changed, changed_tensor
from exporter.checkpoint.adapters.config import AdapterConfig
from exporter.checkpoint.adapters.record import WEIGHTS_NAME
from exporter.checkpoint.contents import ModuleInfo
from exporter.checkpoint.safetensors_file import TensorInfo, read_header
from exporter.checkpoint.weights import check_finite
from exporter.errors import BadInput

PREFIX = "base_model.model."
PART = re.compile(
    r"(?P<module>.+?)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|"
    r"lora_magnitude_vector|hada_w[12]_[ab]|ia3_l)(?:\.default)?(?:\.weight)?"
)
WHOLE = re.compile(r"(?P<module>\d+)\.(?:(?:auto_model|model)\.)?(?P<name>.+)")
"""A name inside a whole SentenceTransformer: the index of a module, then the name in it."""


def read_changes(
    folder: Path,
    config: AdapterConfig,
    *,
    tensors: Mapping[str, TensorInfo],
    modules: Sequence[ModuleInfo],
) -> tuple[Changed, ...]:
    """Return the tensors that the adapter in `folder` changes, in the order of their names.

    `tensors`: the base's, Dense modules included; `modules`: the chain that the adapter's module
    numbers count along. Raises BadInput for tensors that are missing, left over, not finite or of
    a shape that does not fit the base.
    """
    file = _weights(folder)
    parts: dict[str, dict[str, TensorInfo]] = {}
    written: dict[str, str] = {}
    for key, info in read_header(file).items():
        check_finite(info)
        module, part = _split(key, file)
        name = _in_base(module if part == "" else f"{module}.weight", tensors, modules)
        if name is None:
            raise BadInput(
                f"tensor '{key}' of '{file}' changes '{module}', which the base does not have; "
                "pass the base that it was trained on with --base"
            )
        if parts.setdefault(name, {}).setdefault(part, info) is not info:
            raise BadInput(f"'{file}' changes '{name}' twice ('{key}'); save the adapter again")
        if part:
            written[name] = module
    if not parts:
        raise BadInput(f"'{file}' holds no tensors; save the adapter again")
    _check_targets(config, tensors, written, file)
    return tuple(
        changed_tensor(
            name, found, config, tensors[name], module=written.get(name, name), file=file
        )
        for name, found in sorted(parts.items())
    )


def _weights(folder: Path) -> Path:
    file = folder / WEIGHTS_NAME
    if file.is_file():
        return file
    pickled = sorted(p.name for p in folder.glob("adapter_model*.bin"))
    if pickled:
        raise BadInput(
            f"'{folder}' has a pickled adapter only ({pickled[0]}), which can run code when "
            "loaded; re-save it as safetensors (save_pretrained(..., safe_serialization=True))"
        )
    raise BadInput(f"'{file}' is missing; copy the adapter again")


def _split(key: str, file: Path) -> tuple[str, str]:
    """Return (module, which part of its change), or (name of a tensor, "") for a whole one."""
    if not key.startswith(PREFIX):
        raise BadInput(
            f"tensor '{key}' of '{file}' does not begin with '{PREFIX}', as PEFT writes it; "
            "save the adapter with PEFT's save_pretrained"
        )
    name = key.removeprefix(PREFIX)
    match = PART.fullmatch(name)
    if match is not None:
        return match["module"], match["part"]
    # A table that is trained whole, or was saved along with the changes to it.
    return re.sub(r"\.(modules_to_save(\.default)?|base_layer)(?=\.)", "", name), ""


def _in_base(
    name: str, tensors: Mapping[str, TensorInfo], modules: Sequence[ModuleInfo]
) -> str | None:
    """Return what the base calls a tensor; the wrappers it was trained in are no part of it."""
    whole = WHOLE.fullmatch(name)
    if whole is not None:
        index, name = int(whole["module"]), whole["name"]
        if index > 0:
            dense = f"{modules[index].path}/{name}" if index < len(modules) else ""
            return dense if dense in tensors else None
    return next((n for n in (name, name.removeprefix("model.")) if n in tensors), None)


def _check_targets(
    config: AdapterConfig, tensors: Mapping[str, TensorInfo], written: Mapping[str, str], file: Path
) -> None:
    """Raise BadInput for a matrix that the config names and the file leaves out: PEFT would take it
    for unchanged."""
    for name, info in tensors.items():
        module = f".model.{name.removesuffix('.weight')}"
        named = any(module.endswith(f".{target}") for target in config.targets or ())
        if named and len(info.shape) == 2 and name not in written:
            raise BadInput(
                f"'{file}' has nothing for '{module[7:]}', which '{config.path.name}' names in "
                "target_modules; it is incomplete, copy the adapter again"
            )
