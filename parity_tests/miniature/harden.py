"""Make a checkpoint harder without changing what it computes; or damage it as saving does."""

import json
import shutil
from pathlib import Path

import numpy as np

from exporter.checkpoint.read import read_checkpoint
from parity_tests.layout import save_tensors


def harden(
    source: Path, target: Path, *, residual_gain: float = 2.0**17, outlier_gain: float = 64.0,
    outliers: int = 4, seed: int = 0,
) -> Path:  # fmt: skip
    """Write the same function in fp32 with large activations. Returns `target`.

    The residual stream is multiplied by `residual_gain` (embedding table and post-norm gains;
    every consumer normalises first), so that fp16 overflows on ordinary text. In each layer
    `outliers` channels of the normalised inputs are multiplied by `outlier_gain`, and the columns
    that read them divided by it. Gains are powers of two: exact but for the RMSNorm eps.
    """
    shutil.copytree(source, target)
    checkpoint = read_checkpoint(source)
    a = checkpoint.architecture
    assert a is not None
    rng = np.random.default_rng(seed)
    tensors = {n: checkpoint.tensor(n) for n in checkpoint.tensors if "/" not in n}

    def scale_gain(name: str, factor: float | np.ndarray) -> None:
        gain = (1 + tensors[name].astype(np.float64)) * factor
        tensors[name] = (gain - 1).astype(np.float32)

    tensors["embed_tokens.weight"] *= np.float32(residual_gain)
    readers = {
        "input_layernorm": [f"self_attn.{p}_proj" for p in "qkv"],
        "pre_feedforward_layernorm": ["mlp.gate_proj", "mlp.up_proj"],
    }
    for i in range(a.num_layers):
        at = f"layers.{i}."
        for norm in ("post_attention", "post_feedforward"):
            scale_gain(f"{at}{norm}_layernorm.weight", residual_gain)
        for norm, names in readers.items():
            factor = np.ones(a.hidden_size)
            factor[rng.choice(a.hidden_size, outliers, replace=False)] = outlier_gain
            scale_gain(f"{at}{norm}.weight", factor)
            for name in names:
                weight = tensors[f"{at}{name}.weight"]
                tensors[f"{at}{name}.weight"] = (weight / factor).astype(np.float32)
    save_tensors(target / "model.safetensors", tensors, dtype="float32")
    for dense in checkpoint.dense:
        save_tensors(
            target / dense.path / "model.safetensors",
            {"linear.weight": checkpoint.tensor(dense.tensor)},
            dtype="float32",
        )
    _edit_config(target, dtype="float32")
    return target


def resave_damaged(folder: Path) -> None:
    """Leave config.json as transformers 4.57 does when it loads and saves: the window halved."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _edit_config(
        folder, sliding_window=config["sliding_window"] // 2 + 1, transformers_version="4.57.1"
    )


def _edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
