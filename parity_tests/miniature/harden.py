"""Make a checkpoint harder to round; or damage it as saving does.

Two twins: `harden` leaves the function as it is, and so does only what scaling channels can undo;
`harden_tokens` makes tokens differ too, as they do in larger models: another function.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from parity_tests.layout import save_tensors

Tensors = dict[str, npt.NDArray[np.float32]]

READERS = {
    "input_layernorm": [f"self_attn.{p}_proj" for p in "qkv"],
    "pre_feedforward_layernorm": ["mlp.gate_proj", "mlp.up_proj"],
}
"""The matrices that read the output of a norm."""

# Of `harden_tokens`.
MASSIVE = 2.0**8  # times the table's rms, in one channel of one token
LOUD = 36.0  # what gate_proj and up_proj make of it
HEARD = 16.0  # the norm's gain there: columns of ordinary length will do, and round as others do
QUIET = 2.0**-9
OUTLIER = 112.0


def harden(
    source: Path,
    target: Path,
    *,
    residual_gain: float = 2.0**17,
    outlier_gain: float = 64.0,
    outliers: int = 4,
    seed: int = 0,
) -> Path:
    """Write the same function in fp32 with large activations. Returns `target`.

    The residual stream is multiplied by `residual_gain` (embedding table and post-norm gains;
    every consumer normalises first), so that fp16 overflows on ordinary text. In each layer
    `outliers` channels of the normalised inputs are multiplied by `outlier_gain`, and the columns
    that read them divided by it. Gains are powers of two: exact but for the RMSNorm eps.
    """
    checkpoint = read_checkpoint(source)
    a = checkpoint.architecture
    assert a is not None
    rng = np.random.default_rng(seed)
    tensors = _tensors(checkpoint)
    tensors["embed_tokens.weight"] *= np.float32(residual_gain)
    for i in range(a.num_layers):
        at = f"layers.{i}."
        for norm in ("post_attention", "post_feedforward"):
            _scale_gain(tensors, f"{at}{norm}_layernorm.weight", residual_gain)
        for norm in READERS:
            channels = rng.choice(a.hidden_size, outliers, replace=False)
            _enlarge(tensors, at, norm, channels=channels, factor=outlier_gain)
    return _save(checkpoint, target, tensors)


def harden_tokens(source: Path, target: Path, *, seed: int = 0) -> Path:
    """Write a function near that of `source` with the activations of a large model: what any scheme
    makes of it is measured against its own float32. Returns `target`.

    As seen on google/embeddinggemma-300m, where `<eos>` is such a token:
    - One channel of the residual stream is given up: `<eos>` has `MASSIVE` times the table's rms
      there, all others 0. Only MLPs read it, and in every channel of `product` they make the row of
      `<eos>` 50 to 150 times as large as other rows: no scale of channels undoes that.
    - MLPs are `QUIET`: of outputs with an rms of 1e-3 the eps of the post-norm takes a third.
    - One channel of attention's input in even layers, of the MLP's in odd ones and of `product` in
      all is multiplied by `OUTLIER`, and the columns that read it divided by it.
    """
    checkpoint = read_checkpoint(source)
    a = checkpoint.architecture
    assert a is not None
    rng = np.random.default_rng(seed)
    tensors = _tensors(checkpoint)
    table = tensors["embed_tokens.weight"]
    given_up = int((table**2).sum(axis=0).argmin())
    others = np.delete(np.arange(a.hidden_size), given_up)
    eos = json.loads((source / "config.json").read_text(encoding="utf-8"))["eos_token_id"]
    rms = np.sqrt((table**2).mean())
    table[:, given_up] = 0
    table[eos, given_up] = MASSIVE * rms
    tensors["norm.weight"][given_up] = -1  # a gain of 0
    # Next to it the rest of the row is small: the norm makes it the root of the width.
    column = LOUD / (HEARD * np.sqrt(a.hidden_size))
    for i in range(a.num_layers):
        at = f"layers.{i}."
        norm = list(READERS)[i % 2]
        _enlarge(tensors, at, norm, channels=rng.choice(others, 1), factor=OUTLIER)
        tensors[f"{at}input_layernorm.weight"][given_up] = -1
        tensors[f"{at}pre_feedforward_layernorm.weight"][given_up] = HEARD - 1
        tensors[f"{at}self_attn.o_proj.weight"][given_up] = 0
        gate, up, down = (tensors[f"{at}mlp.{p}_proj.weight"] for p in ("gate", "up", "down"))
        # The one with the longest rows: at random, some hardly ever fire.
        loudest = np.linalg.norm(gate, axis=1) * np.linalg.norm(up, axis=1)
        factor = np.ones((a.intermediate_size, 1), np.float32)
        factor[loudest.argmax()] = OUTLIER
        up *= factor * np.float32(QUIET)
        down /= factor.T
        down[given_up] = 0
        gate[:, given_up] = column
        up[:, given_up] = column * QUIET * rng.choice([-1, 1], a.intermediate_size)
    return _save(checkpoint, target, tensors)


def resave_damaged(folder: Path) -> None:
    """Leave config.json as transformers 4.57 does when it loads and saves: the window halved."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _edit_config(
        folder, sliding_window=config["sliding_window"] // 2 + 1, transformers_version="4.57.1"
    )


def _tensors(checkpoint: Checkpoint) -> Tensors:
    """Return the backbone's tensors in float32, for the caller to change."""
    names = [n for n in checkpoint.tensors if "/" not in n]
    return {n: np.array(checkpoint.tensor(n), np.float32) for n in names}


def _scale_gain(tensors: Tensors, name: str, factor: float | npt.NDArray[np.float64]) -> None:
    gain = (1 + tensors[name].astype(np.float64)) * factor
    tensors[name] = (gain - 1).astype(np.float32)


def _enlarge(
    tensors: Tensors, at: str, norm: str, *, channels: npt.NDArray[np.int64], factor: float
) -> None:
    """Multiply channels of a norm's output, and divide the columns that read them."""
    factors = np.ones(len(tensors[f"{at}{norm}.weight"]))
    factors[channels] = factor
    _scale_gain(tensors, f"{at}{norm}.weight", factors)
    for name in READERS[norm]:
        weight = tensors[f"{at}{name}.weight"]
        tensors[f"{at}{name}.weight"] = (weight / factors).astype(np.float32)


def _save(checkpoint: Checkpoint, target: Path, tensors: Tensors) -> Path:
    """Write a copy of the checkpoint with these tensors, all in float32."""
    shutil.copytree(checkpoint.path, target)
    save_tensors(target / "model.safetensors", tensors, dtype="float32")
    for dense in checkpoint.dense:
        save_tensors(
            target / dense.path / "model.safetensors",
            {"linear.weight": checkpoint.tensor(dense.tensor)},
            dtype="float32",
        )
    _edit_config(target, dtype="float32")
    return target


def _edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
