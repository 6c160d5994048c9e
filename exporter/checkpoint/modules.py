"""modules.json and the folders it names: the chain from token states to a vector.

Class names and pooling keys are read in the spelling of sentence-transformers 5.x
(`sentence_transformers.models.Dense`, booleans) and 6.x (`sentence_transformers.base.modules.
dense.Dense`, `pooling_mode`).
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from exporter.checkpoint.contents import ModuleInfo
from exporter.checkpoint.json_file import read_json, read_object, take_int
from exporter.errors import BadInput

KNOWN = ("Transformer", "Pooling", "Dense", "Normalize")
IDENTITY = ("torch.nn.modules.linear.Identity", "torch.nn.Identity")
POOLING = ("mean", "cls", "lasttoken")
OLD_POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class PoolingConfig:
    """How token states become one vector, and which spelling said so."""

    mode: str
    width: int
    spelling: str


def read_modules(folder: Path) -> tuple[ModuleInfo, ...]:
    """Return the module chain. Raises BadInput for one that is not Transformer, Pooling, any
    number of Dense, and at most one Normalize, in this order."""
    path = folder / "modules.json"
    entries = read_json(path)
    if not isinstance(entries, list) or not entries:
        raise BadInput(f"'{path}' does not list modules; re-save with sentence-transformers")
    modules = tuple(_module(folder, path, i, entry) for i, entry in enumerate(entries))
    kinds = [m.kind for m in modules]
    tail = kinds[2:-1] if kinds[-1] == "Normalize" else kinds[2:]
    if kinds[:2] != ["Transformer", "Pooling"] or any(k != "Dense" for k in tail):
        raise BadInput(
            f"'{path}' chains {' -> '.join(kinds)}; supported is Transformer -> Pooling -> "
            "Dense ... -> Normalize"
        )
    return modules


def _module(folder: Path, path: Path, index: int, entry: Any) -> ModuleInfo:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise BadInput(f"'{path}': entry {index} names no type; re-save the checkpoint")
    class_name, where = entry["type"], entry.get("path", "")
    package, _, kind = class_name.rpartition(".")
    if package.split(".")[0] != "sentence_transformers" or kind not in KNOWN:
        raise BadInput(
            f"'{path}': unknown module class '{class_name}'; its computation cannot be exported "
            f"(known: {', '.join(KNOWN)} of sentence_transformers)"
        )
    parts = PurePosixPath(where).parts if isinstance(where, str) else ("..",)
    if ".." in parts or PurePosixPath(str(where)).is_absolute() or "\\" in str(where):
        raise BadInput(f"'{path}': module path {where!r} leaves the checkpoint folder")
    if kind in ("Pooling", "Dense") and not (folder / where).is_dir():
        raise BadInput(
            f"the {kind} folder '{folder / where}' is missing; copy the checkpoint again"
        )
    return ModuleInfo(kind=kind, path=where, class_name=class_name)


def read_pooling(folder: Path, module: ModuleInfo) -> PoolingConfig:
    """Return the pooling. Raises BadInput for a mode or a combination that is not supported."""
    path = folder / module.path / "config.json"
    config = read_object(path)
    if "pooling_mode" in config:
        value = config["pooling_mode"]
        modes = list(value) if isinstance(value, list) else [value] if value else []
        spelling = "pooling_mode (sentence-transformers 6)"
    else:
        modes = [mode for key, mode in OLD_POOLING_KEYS.items() if config.get(key) is True]
        spelling = "booleans (sentence-transformers 5)"
    if len(modes) != 1 or not isinstance(modes[0], str) or modes[0] not in POOLING:
        raise BadInput(
            f"'{path}': pooling {modes or 'none'} is not supported (known: {', '.join(POOLING)}); "
            "train with mean pooling or export the token states by other means"
        )
    if config.get("include_prompt") is False:
        raise BadInput(
            f"'{path}': include_prompt is false; leaving prompt tokens out of the pooling is not "
            "supported by any of the targets"
        )
    key = "embedding_dimension" if "embedding_dimension" in config else "word_embedding_dimension"
    return PoolingConfig(modes[0], take_int(config, key, path=path), spelling)


def read_dense_config(folder: Path, module: ModuleInfo) -> tuple[int, int]:
    """Return (in_features, out_features). Raises BadInput for a bias or an activation."""
    path = folder / module.path / "config.json"
    config = read_object(path)
    if config.get("bias", True) is not False:
        raise BadInput(
            f"'{path}': Dense has a bias, which is not supported; retrain it with bias=False"
        )
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if activation not in IDENTITY:
        raise BadInput(
            f"'{path}': Dense has the activation '{activation}'; only Identity is supported"
        )
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise BadInput(f"'{path}': {key} is {config[key]!r}; only sentence_embedding is known")
    return take_int(config, "in_features", path=path), take_int(config, "out_features", path=path)
