"""adapter_config.json: which change the tensors beside it stand for.

Written by PEFT: https://github.com/huggingface/peft/blob/v0.17.1/src/peft/tuners/lora/config.py.
Every key is either understood here, or known to leave the function of the stored tensors alone, or
has to be off: a key that is none of these is refused by its name.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.checkpoint.adapters.record import CONFIG_NAME
from exporter.checkpoint.json_file import read_object, take_float, take_int
from exporter.errors import BadInput

MERGE_WITH_PEFT = (
    "merge it with PEFT (model.merge_and_unload(), then save_pretrained) and pass the folder"
)
OF_ALL = (
    "auto_mapping base_model_name_or_path bias exclude_modules fan_in_fan_out inference_mode "
    "layers_pattern layers_to_transform modules_to_save peft_type peft_version revision "
    "target_modules task_type"
)
# fan_in_fan_out has no effect on Linear layers, in PEFT either, and no family here has others. From
# init_lora_weights on: how training began or where it ran; the tensors are as they ended.
UNDERSTOOD: Mapping[str, str] = {
    "LORA": "r lora_alpha rank_pattern alpha_pattern use_rslora use_dora init_lora_weights "
    "lora_dropout loftq_config eva_config megatron_core qalora_group_size runtime_config",
    "LOHA": "r alpha rank_pattern alpha_pattern rank_dropout module_dropout init_weights "
    "use_effective_conv2d",
    "IA3": "feedforward_modules init_ia3_weights",
}
BEGINS_ELSEWHERE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin that change the base itself: what is stored is no change of the base as saved."""
MOST_QUANTIFIERS = 3


@dataclass(frozen=True)
class AdapterConfig:
    """What is needed of it. `rank_pattern`, `alpha_pattern`: values by patterns of module names, in
    their order. `targets`: module names that must have tensors, None where it gives a pattern.
    `version`: PEFT's that saved it."""

    path: Path
    peft_type: str
    base: str | None
    revision: str | None
    version: str | None
    rank: int
    alpha: float
    rank_stabilized: bool
    dora: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    targets: tuple[str, ...] | None

    @property
    def described(self) -> str:
        """Return the method's name as its papers spell it."""
        return "DoRA" if self.dora else {"LORA": "LoRA", "LOHA": "LoHa"}.get(self.peft_type, "IA3")

    def factor(self, module: str, rank: int) -> float:
        """Return what the product of a module's matrices is multiplied by."""
        alpha = _matched(self.alpha_pattern, module)
        alpha = self.alpha if alpha is None else alpha
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)

    def rank_of(self, module: str) -> int:
        """Return the rank that a module's matrices must have."""
        rank = _matched(self.rank_pattern, module)
        return self.rank if rank is None else rank


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Return the config of the adapter in `folder`. Raises BadInput for a method, or a setting of
    one, that is not merged here."""
    path = folder / CONFIG_NAME
    config = read_object(path)
    if config.get("auto_map"):
        raise BadInput(f"'{path}' has auto_map, code that loading would run; remove the key")
    peft_type = config.get("peft_type")
    if peft_type not in UNDERSTOOD:
        known = ", ".join(UNDERSTOOD)
        raise BadInput(
            f"'{path}': peft_type {peft_type!a} is not merged here (known: {known}); "
            + MERGE_WITH_PEFT
        )
    _refuse_the_unknown(config, str(peft_type), path)
    has_rank = peft_type != "IA3"
    alpha_key = "lora_alpha" if peft_type == "LORA" else "alpha"
    return AdapterConfig(
        path=path,
        peft_type=str(peft_type),
        base=_text(config, "base_model_name_or_path", path),
        revision=_text(config, "revision", path),
        version=_text(config, "peft_version", path),
        rank=take_int(config, "r", path=path) if has_rank else 0,
        alpha=take_float(config, alpha_key, path=path, default=8.0) if has_rank else 1.0,
        rank_stabilized=config.get("use_rslora") is True,
        dora=config.get("use_dora") is True,
        rank_pattern=_pattern(config, "rank_pattern", path, whole=True),
        alpha_pattern=_pattern(config, "alpha_pattern", path),
        targets=_targets(config, path),
    )


def _refuse_the_unknown(config: Mapping[str, Any], peft_type: str, path: Path) -> None:
    known = {*OF_ALL.split(), *UNDERSTOOD[peft_type].split()}
    for key in sorted(config):
        if key not in known and config[key] not in (None, False, 0, "", [], {}):
            raise BadInput(f"'{path}': {key!a} is set, which is not merged here; {MERGE_WITH_PEFT}")
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(BEGINS_ELSEWHERE):
        raise BadInput(
            f"'{path}': init_lora_weights is {begun!a}, which moves a part of the base's own "
            "weights into the adapter, so it fits no base as saved; save it again with PEFT's "
            "save_pretrained(..., path_initial_model_for_weight_conversion=...)"
        )


def _text(config: Mapping[str, Any], key: str, path: Path) -> str | None:
    value = config.get(key)
    if value is None or value == "":
        return None
    # A file system takes no longer part of a path.
    if (
        not isinstance(value, str)
        or not value.isprintable()
        or any(len(part.encode()) > 255 for part in value.split("/"))
    ):
        raise BadInput(f"'{path}': {key} is {str(value)[:80]!a}, no name; mend it")
    return value


def _targets(config: Mapping[str, Any], path: Path) -> tuple[str, ...] | None:
    """Return the modules that are named one by one, where nothing else leaves some of them out."""
    value = config.get("target_modules")
    narrowed = ("exclude_modules", "layers_to_transform")
    if value is None or isinstance(value, str) or any(config.get(k) for k in narrowed):
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadInput(f"'{path}': target_modules is no list of names; copy the adapter again")
    return tuple(value)


def _pattern(
    config: Mapping[str, Any], key: str, path: Path, *, whole: bool = False
) -> dict[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise BadInput(f"'{path}': {key} is no table of names; copy the adapter again")
    for pattern in value:
        _check_pattern(pattern, f"'{path}': {key} {pattern!a}")
        if whole:
            take_int(value, pattern, path=path)
        else:
            take_float(value, pattern, path=path, default=math.nan)
    return value


def _check_pattern(pattern: str, where: str) -> None:
    """Raise BadInput for a regular expression that is none, or that could run for ever."""
    quantifiers = re.findall(r"[*+?{]", pattern)
    if len(quantifiers) > MOST_QUANTIFIERS or re.search(r"\)\s*[*+?{]", pattern):
        raise BadInput(f"{where} is too intricate a pattern; write the module names out")
    try:
        re.compile(pattern)
    except re.error as error:
        raise BadInput(f"{where} is no regular expression ({error}); mend it") from None


def _matched(patterns: Mapping[str, Any], module: str) -> Any:
    """Return the value of the first pattern that a module's name ends with, as PEFT finds it:
    https://github.com/huggingface/peft/blob/v0.17.1/src/peft/utils/other.py (get_pattern_key)."""
    return next((v for p, v in patterns.items() if re.match(rf"(.*\.)?({p})$", module)), None)
