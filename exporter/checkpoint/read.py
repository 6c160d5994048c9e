"""A sentence-transformers folder -> Checkpoint. Nothing is imported from torch, nothing executed,
nothing fetched; what cannot be exported rightly is refused with a reason."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporter.checkpoint.adapters.config import MERGE_WITH_PEFT
from exporter.checkpoint.adapters.read import merge_adapter, open_adapter
from exporter.checkpoint.adapters.record import Adapter, is_adapter
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
from exporter.checkpoint.folder import (
    check_folder,
    checkpoint_name,
    deciding_files,
    extra_file_findings,
)
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
    path: Path,
    *,
    window: WindowChoice = "as-saved",
    prompts: Prompts | None = None,
    base: str | None = None,
) -> Checkpoint:
    """Read and check a checkpoint folder, every weight included.

    `window` says whether a sliding window damaged by saving is used as saved or repaired.
    `prompts` replaces the checkpoint's own, those that were saved with it. `base`: the folder or
    hub id of the base, where `path` is an adapter whose config does not lead to it. Raises BadInput
    for whatever cannot be exported rightly.
    """
    given = folder = weights = check_folder(path)
    opened = open_adapter(given, base=base) if is_adapter(given) else None
    if opened is not None:
        folder, weights = opened.main, opened.base.folder
    elif base is not None:
        raise BadInput(f"'{path}' is no adapter but a whole checkpoint; leave --base out")
    config_path = weights / "config.json"
    config = read_object(config_path)
    _refuse_remote_code(config, config_path)
    modules = read_modules(folder)
    pooling = read_pooling(folder, modules[1])
    dense, dense_tensors = _read_dense(folder, modules)
    saved = read_saved_prompts(folder)
    family = find_family(config.get("model_type"))
    stored = read_backbone(weights, unused=None if family is None else family.unused)
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
        check_shapes(stored, family.shapes(architecture), folder=weights)
        if family.halves_window and "sliding_attention" in architecture.layer_types:
            window_saved = architecture.sliding_window
            window_used, finding = decide_window(
                window_saved,
                choice=window,
                hidden=architecture.hidden_size,
                layers=architecture.num_layers,
            )
            architecture = architecture.model_copy(update={"sliding_window": window_used})
            findings.append(finding)
        hidden = architecture.hidden_size
    elif opened is not None:
        raise BadInput(
            f"adapters are merged into models that have a graph here, and of '{weights}' the "
            f"{obstacle}; {MERGE_WITH_PEFT}"
        )
    else:
        inside_unknown = family is not None and family.projection
        hidden = 0 if inside_unknown else int(config.get("hidden_size") or 0)
        hidden = hidden or pooling.width
        findings.append(_not_built(obstacle or ""))
    inside: DenseInfo | None = None
    if family is not None and architecture is not None and family.projection:
        out, into = stored[family.projection].shape
        inside = DenseInfo(path="", tensor=family.projection, in_features=into, out_features=out)
    made = hidden if inside is None else inside.out_features
    _check_widths(folder, made, pooling.width, dense)
    tensors = {**stored, **dense_tensors}
    for info in tensors.values():
        check_finite(info)
    adapter: Adapter | None = None
    if opened is not None:
        tensors, adapter, of_adapter = merge_adapter(opened, tensors, modules)
        findings += of_adapter
    if architecture is not None and family is not None:
        tensors = {
            name: replace(info, name=name)
            for name, info in family.own_tensors(architecture, tensors).items()
        }
        findings += family.findings(architecture, tensors)
    facts = (
        read_tokenizer(folder, needs_model=False)
        if family is None
        else read_tokenizer(folder, needs_model=family.sentencepiece, around=family.around)
    )
    used = prompts or saved.own
    dim = dense[-1].out_features if dense else made
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
        name=checkpoint_name(given),
        model_type=str(config.get("model_type")),
        architecture=architecture,
        modules=modules,
        dense=dense if inside is None else (inside, *dense),
        pooling=pooling.mode,
        normalize=modules[-1].kind == "Normalize",
        prompts=used,
        own_prompts=saved.own,
        saved_prompts=saved.named,
        dim=dim,
        matryoshka_dims=dims,
        max_tokens=_max_tokens(
            folder,
            facts,
            most=architecture.max_positions
            if architecture
            else config.get("max_position_embeddings"),
        ),
        window_choice=window,
        window_saved=window_saved,
        window_used=window_used,
        findings=tuple(findings),
        tensors=tensors,
        files=deciding_files(folder, modules),
        adapter=adapter,
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


def _max_tokens(folder: Path, facts: TokenizerFacts, *, most: object) -> int:
    """Return how many tokens of a text are read. `most`: as many as have positions."""
    path = folder / "sentence_bert_config.json"
    settings = read_object(path) if path.is_file() else {}
    if settings.get("do_lower_case"):
        raise BadInput(f"'{path}': do_lower_case is true, which no target does; retrain without it")
    limit = settings.get("max_seq_length")
    if limit is not None and (not isinstance(limit, int) or limit < 4):
        raise BadInput(f"'{path}': max_seq_length is {limit!r}, not a whole number from 4 up")
    known = [v for v in (limit or facts.max_length, most) if isinstance(v, int) and v > 0]
    return min(known, default=DEFAULT_MAX_TOKENS)
