"""Where the base of an adapter lies."""

from dataclasses import dataclass
from pathlib import Path

from exporter.checkpoint.adapters.config import AdapterConfig
from exporter.checkpoint.adapters.record import is_adapter
from exporter.checkpoint.folder import check_folder, checkpoint_name
from exporter.checkpoint.hub import HUB_ID, locate_checkpoint
from exporter.checkpoint.json_file import read_object
from exporter.errors import BadInput


@dataclass(frozen=True)
class Base:
    """The folder of the base, what it is called, and its commit where it came from the hub."""

    folder: Path
    name: str
    revision: str | None


def find_base(folder: Path, config: AdapterConfig, *, named: str | None) -> Base:
    """Return the base of the adapter in `folder`: `named` by the user, or as the config names it.

    That is a path, taken from the adapter's folder or the working folder, else a folder beside the
    adapter with its last name, else a model of the hub in the config's revision. Raises BadInput
    where none of these is there, and for a base that is an adapter itself or quantized.
    """
    if named is not None:
        located = locate_checkpoint(named)
        if not located.is_dir():
            raise BadInput(f"no such base folder: '{named}'; pass --base FOLDER or ORG/NAME")
        found = _local(located)
    elif config.base is None:
        raise BadInput(
            f"'{folder}' is an adapter and names no base ('{config.path.name}': "
            "base_model_name_or_path); name it with --base FOLDER or ORG/NAME"
        )
    else:
        found = _as_named(folder, config.base, config.revision)
    _check_whole(found.folder)
    return found


def last_name(named: str) -> str:
    """Return the last part of a path, of any system, or of a hub id."""
    return named.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _as_named(folder: Path, named: str, revision: str | None) -> Base:
    beside = folder.parent / last_name(named)
    for place in (folder / named, Path(named).expanduser(), beside):
        if (place / "config.json").is_file() and place.resolve() != folder:
            return _local(place)
    remedy = "put the base beside it, or name it with --base FOLDER or ORG/NAME"
    if HUB_ID.fullmatch(named) is None:
        raise BadInput(f"'{folder}' is an adapter of '{named}', which is not there; {remedy}")
    try:
        return _local(locate_checkpoint(named, revision=revision))
    except BadInput as error:
        reason = str(error).partition("; ")[0]
        raise BadInput(
            f"the base of the adapter '{folder}' is missing: {reason}; {remedy}"
        ) from None


def _local(folder: Path) -> Base:
    folder = check_folder(folder)
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        hub_id = repository.removeprefix("models--").replace("--", "/", 1)
        return Base(folder, hub_id, folder.name)
    return Base(folder, checkpoint_name(folder), None)


def _check_whole(base: Path) -> None:
    if is_adapter(base):
        raise BadInput(
            f"the base '{base}' is an adapter itself; merge that one with PEFT first, "
            "or name a whole checkpoint with --base"
        )
    quantized = read_object(base / "config.json").get("quantization_config")
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else None
        raise BadInput(
            f"the base '{base}' is quantized ({method or 'quantization_config'} in config.json), "
            "so nothing can be added to its weights; name the one it was made from with --base"
        )
