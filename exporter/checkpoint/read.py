"""A sentence-transformers folder -> Checkpoint. Nothing is imported from torch, nothing executed,
nothing fetched; what cannot be exported rightly is refused with a reason."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporter.checkpoint.contents import (
    Architecture,
    Checkpoint,
    DenseInfo,
    Finding,
    ModuleInfo,
    Prompts,
    WindowChoice,
)
from exporter.checkpoint.family import Reading, find_family
from exporter.checkpoint.findings import module_findings, prompt_findings, tokenizer_findings
from exporter.checkpoint.folder import check_folder, checkpoint_name, extra_file_findings
from exporter.checkpoint.json_file import read_object
from exporter.checkpoint.matryoshka import read_matryoshka_dims
from exporter.checkpoint.modules import read_dense_config, read_modules, read_pooling
from exporter.checkpoint.prompts import read_saved_prompts
from exporter.checkpoint.safetensors_file import TensorInfo, read_header
from exporter.checkpoint.tokenizer import TokenizerFacts, read_tokenizer
from exporter.checkpoint.weights import check_finite, check_shapes, read_backbone, weight_files
from exporter.checkpoint.window import decide_window
from exporter.errors import BadInput
from exporter.registry import FAMILIES

DEFAULT_MAX_TOKENS = 512


def read_checkpoint(
    path: Path, *, window: WindowChoice = "as-saved", prompts: Prompts | None = None
) -> Checkpoint:
    """Read and check a checkpoint folder, every weight included.

    `window` says whether a sliding window damaged by saving is used as saved or repaired.
    `prompts` replaces the checkpoint's own, those that were saved with it. Raises BadInput for
    whatever cannot be exported rightly.
    """
    folder = check_folder(path)
    config_path = folder / "config.json"
    config = read_object(config_path)
    _refuse_remote_code(config, config_path)
    modules = read_modules(folder)
    pooling = read_pooling(folder, modules[1])
    dense, dense_tensors = _read_dense(folder, modules)
    saved = read_saved_prompts(folder)
    family = find_family(config.get("model_type"))
    tensors = read_backbone(folder, unused=() if family is None else family.unused)
    obstacle = _unknown(config) if family is None else family.obstacle(config)
    findings: list[Finding] = []
    architecture: Architecture | None = None
    window_saved = window_used = None
    if family is not None and obstacle is None:
        architecture = family.read(config, path=config_path)
        if pooling.mode not in family.poolings:
            raise BadInput(
                f"'{folder / modules[1].path}' pools by '{pooling.mode}'; this architecture is "
                f"supported with {' or '.join(family.poolings)} pooling"
            )
        check_shapes(tensors, family.shapes(architecture), folder=folder)
        if "sliding_attention" in architecture.layer_types:
            window_saved = architecture.sliding_window
            window_used, finding = decide_window(
                window_saved,
                choice=window,
                hidden=architecture.hidden_size,
                layers=architecture.num_layers,
            )
            architecture = architecture.model_copy(update={"sliding_window": window_used})
            findings.append(finding)
        findings += family.findings(architecture, tensors)
        hidden = architecture.hidden_size
    else:
        hidden = int(config.get("hidden_size") or pooling.width)
        findings.append(_not_built(obstacle or ""))
    _check_widths(folder, hidden, pooling.width, dense)
    for info in (*tensors.values(), *dense_tensors.values()):
        check_finite(info)
    facts = (
        read_tokenizer(folder, needs_model=False)
        if family is None
        else read_tokenizer(folder, needs_model=family.sentencepiece, around=family.around)
    )
    used = prompts or saved.own
    dim = dense[-1].out_features if dense else hidden
    dims, where = read_matryoshka_dims(folder, dim)
    findings += module_findings(modules, dense, pooling=pooling.mode, spelling=pooling.spelling)
    findings += tokenizer_findings(
        facts,
        sentencepiece=architecture is not None and family is not None and family.sentencepiece,
        table_rows=architecture.vocab_size if architecture else None,
    )
    if architecture is not None and family is not None:
        findings += family.usage_findings(Reading(folder, pooling.mode, used, facts))
    findings += [*prompt_findings(used, saved), where, *extra_file_findings(folder)]
    return Checkpoint(
        path=folder,
        name=checkpoint_name(folder),
        model_type=str(config.get("model_type")),
        architecture=architecture,
        modules=modules,
        dense=dense,
        pooling=pooling.mode,
        normalize=modules[-1].kind == "Normalize",
        prompts=used,
        own_prompts=saved.own,
        saved_prompts=saved.named,
        dim=dim,
        matryoshka_dims=dims,
        max_tokens=_max_tokens(folder, config, facts),
        window_choice=window,
        window_saved=window_saved,
        window_used=window_used,
        findings=tuple(findings),
        tensors={**tensors, **dense_tensors},
        files=_deciding_files(folder, modules),
    )


def _refuse_remote_code(config: Mapping[str, Any], path: Path) -> None:
    if config.get("auto_map"):
        raise BadInput(
            f"'{path}' has auto_map, code that loading would run; this tool runs no code of a "
            "checkpoint, remove the key if the architecture is a standard one"
        )


def _unknown(config: Mapping[str, Any]) -> str:
    return f"model_type is {config.get('model_type')!r}, not {' or '.join(map(repr, FAMILIES))}"


def _not_built(obstacle: str) -> Finding:
    return Finding(
        id="architecture-not-built",
        severity="warning",
        evidence=obstacle,
        effect="neither the built ONNX graph nor GGUF can express this model",
        remedy="export it with 'lawvault export onnx --graph traced'",
    )


def _read_dense(
    folder: Path, modules: tuple[ModuleInfo, ...]
) -> tuple[tuple[DenseInfo, ...], dict[str, TensorInfo]]:
    dense: list[DenseInfo] = []
    tensors: dict[str, TensorInfo] = {}
    for module in (m for m in modules if m.kind == "Dense"):
        into, out = read_dense_config(folder, module)
        where = folder / module.path
        found = {n: t for file in weight_files(where) for n, t in read_header(file).items()}
        check_shapes(found, {"linear.weight": (out, into)}, folder=where)
        name = f"{module.path}/linear.weight"
        tensors[name] = replace(found["linear.weight"], name=name)
        dense.append(DenseInfo(path=module.path, tensor=name, in_features=into, out_features=out))
    return tuple(dense), tensors


def _check_widths(folder: Path, hidden: int, pooled: int, dense: tuple[DenseInfo, ...]) -> None:
    if pooled != hidden:
        raise BadInput(
            f"'{folder}': Pooling expects {pooled} dimensions, the backbone has {hidden}; pass "
            "modules and weights of one model"
        )
    width = hidden
    for module in dense:
        if module.in_features != width:
            raise BadInput(
                f"'{folder / module.path}' takes {module.in_features} dimensions but is given "
                f"{width}; pass modules of one model"
            )
        width = module.out_features


def _max_tokens(folder: Path, config: Mapping[str, Any], facts: TokenizerFacts) -> int:
    path = folder / "sentence_bert_config.json"
    settings = read_object(path) if path.is_file() else {}
    if settings.get("do_lower_case"):
        raise BadInput(f"'{path}': do_lower_case is true, which no target does; retrain without it")
    limits = (
        settings.get("max_seq_length"),
        facts.max_length,
        config.get("max_position_embeddings"),
    )
    if limits[0] is not None and (not isinstance(limits[0], int) or limits[0] < 4):
        raise BadInput(f"'{path}': max_seq_length is {limits[0]!r}, not a whole number from 4 up")
    given = limits[0] or facts.max_length
    known = [v for v in (given, limits[2]) if isinstance(v, int) and v > 0]
    return min(known, default=DEFAULT_MAX_TOKENS)


def _deciding_files(folder: Path, modules: tuple[ModuleInfo, ...]) -> tuple[Path, ...]:
    names = (
        "README.md",
        "added_tokens.json",
        "config.json",
        "config_sentence_transformers.json",
        "modules.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.txt",
    )
    files = {Path(name) for name in names if (folder / name).is_file()}
    files |= {file.relative_to(folder) for file in weight_files(folder)}
    for module in modules[1:]:
        where = folder / module.path
        if (where / "config.json").is_file():
            files.add(Path(module.path) / "config.json")
        if module.kind == "Dense":
            files |= {file.relative_to(folder) for file in weight_files(where)}
    return tuple(sorted(files))
