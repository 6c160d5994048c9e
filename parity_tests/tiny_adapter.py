"""Adapters of the tiny checkpoint, for tests: made by PEFT itself, or written by hand."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from exporter.checkpoint.contents import Checkpoint
from exporter.runtimes.torch_reference import quiet
from parity_tests.layout import save_tensors

Wrap = Literal["backbone", "causal", "whole", "sentence-transformers"]


PREFIX = "base_model.model."
Q, DOWN = "layers.{}.self_attn.q_proj", "layers.{}.mlp.down_proj"
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "FEATURE_EXTRACTION",
    "base_model_name_or_path": "lawyer/model",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj", "down_proj"],
    "peft_version": "0.18.0",
}
Tensors = dict[str, np.ndarray]


def make_adapter(
    folder: Path, base: Path, config: Any, *, wrap: Wrap = "backbone", size: float = 0.1
) -> Path:
    """Write an adapter of `base` with PEFT's `config`, as if trained. Returns `folder`.

    `wrap`: what PEFT is put around: the backbone, a language model of it, the SentenceTransformer,
    or the backbone by that one's `add_adapter`. `size` decides how far a tensor is moved.
    """
    import torch
    from peft import get_peft_model
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with quiet():
        model: Any = SentenceTransformer(str(base), device="cpu", local_files_only=True)
        if wrap == "sentence-transformers":
            model.add_adapter(config)
        elif wrap == "causal":
            model = AutoModelForCausalLM.from_pretrained(str(base), local_files_only=True)
            model = get_peft_model(model, config)
        else:
            model = get_peft_model(model if wrap == "whole" else model[0].auto_model, config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += size * torch.randn_like(parameter)
        model.save_pretrained(str(folder))
    return folder


def edit_config(folder: Path, **changed: Any) -> Path:
    """Change keys of the adapter_config.json in `folder`. Returns `folder`."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changed}), "utf-8")
    return folder


def edit_tensors(folder: Path, **changed: Any) -> Path:
    """Rewrite the tensors in `folder`: `drop`: end of the names to leave out; `change`: a function
    of (name, array) that returns both. Returns `folder`."""
    from safetensors.numpy import load_file, save_file

    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    drop, change = changed.get("drop"), changed.get("change")
    if drop is not None:
        tensors = {name: t for name, t in tensors.items() if not name.endswith(drop)}
    if change is not None:
        tensors = dict(change(name, tensor) for name, tensor in tensors.items())
    save_file(tensors, path)
    return folder


def write_merged(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write what is read of a merged checkpoint as a whole one in float32. Returns `folder`."""
    assert checkpoint.adapter is not None
    shutil.copytree(checkpoint.path, folder)
    shutil.copyfile(checkpoint.adapter.base / "config.json", folder / "config.json")
    for left in folder.glob("adapter*"):
        left.unlink()
    dense = {module.tensor: module.path for module in checkpoint.dense}
    backbone = {n: checkpoint.tensor(n) for n in checkpoint.tensors if n not in dense}
    save_tensors(folder / "model.safetensors", backbone, dtype="float32")
    for name, path in dense.items():
        weight = {"linear.weight": checkpoint.tensor(name)}
        save_tensors(folder / path / "model.safetensors", weight, dtype="float32")
    return folder


def tensors_of(layers: int = 2) -> Tensors:
    """Return the tensors of an adapter of CONFIG, for a base of hidden 48 and intermediate 96."""
    random = np.random.default_rng(1)
    found = {}
    for layer in range(layers):
        for module, out, into in ((Q, 48, 48), (DOWN, 48, 96)):
            name = PREFIX + module.format(layer)
            found[f"{name}.lora_A.weight"] = random.normal(size=(4, into)).astype(np.float32)
            found[f"{name}.lora_B.weight"] = random.normal(size=(out, 4)).astype(np.float32) / 50
    return found


def write_adapter(folder: Path, config: Mapping[str, Any], tensors: Tensors) -> Path:
    """Write an adapter in PEFT's layout. Returns `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    save_tensors(folder / "adapter_model.safetensors", tensors, dtype="float32")
    return folder
