"""8 bits for whole-number products: a scale an output channel, a scale a row of inputs.

Large channels of inputs are moved into weights (`exporter.quantization.channels`), inputs are
rotated (`exporter.quantization.rotate`) and rounded at run time with the scale of their own row:
tokens differ as much as channels do, so one scale for all rows cannot hold them. Weights are
rounded by GPTQ under the bound of `exporter.quantization.pairs`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Checkpoint
from exporter.quantization.channels import smoothed_weights
from exporter.quantization.gptq import Grid
from exporter.quantization.grids import row_grid
from exporter.quantization.rotate import RotatedWeights, usual_blocks
from exporter.quantization.rounding import Rounded, quantize_layers, round_rows
from exporter.quantization.smooth import SmoothedWeights
from exporter.quantization.table import table_rounding
from exporter.quantization.weights import ModelWeights

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Int8Matrix:
    """codes: (out, in) int8; scales: (out,) float32. A weight is code * scale of its row."""

    codes: npt.NDArray[np.int8]
    scales: Floats


@dataclass(frozen=True)
class Int8Model:
    """What a graph in 8 bits is written from. `weights`: rotated, for all that stays float32."""

    weights: RotatedWeights
    matrices: Mapping[str, Int8Matrix]


def fit_rows(name: str, weight: Any, importance: Any) -> Grid:
    """See `exporter.quantization.rounding.Fit`."""
    del name
    return row_grid(weight, importance)


def quantize_int8(
    checkpoint: Checkpoint,
    texts: Sequence[str],
    *,
    blocks: Mapping[str, int] | None = None,
    keep: Path | None = None,
    on_measured: Callable[[int], None] | None = None,
    on_layer: Callable[[int], None] | None = None,
) -> Int8Model:
    """Round the backbone's projections. texts: prompts applied.

    `blocks`: how far each site is rotated, None for the usual. `keep`: a folder in which the
    result is looked up and left, for other graphs of the same weights. `on_measured`, `on_layer`:
    called with each layer whose channels were measured, and that was rounded. Raises BadInput for
    activations that are not finite, MissingDependency
    without torch.
    """
    blocks = usual_blocks(ModelWeights(checkpoint).sites) if blocks is None else blocks
    file = None
    if keep is not None:
        file = keep / f"int8-{_key(checkpoint, texts, blocks)}.npz"
        if file.is_file():
            return _read(file, checkpoint, blocks)
    smoothed = smoothed_weights(checkpoint, texts, on_layer=on_measured)
    weights = RotatedWeights(smoothed, blocks)
    found = quantize_layers(
        weights,
        texts,
        fit=fit_rows,
        round_input=round_rows,
        round_table=table_rounding(weights.table),
        on_layer=on_layer,
    )
    matrices = {name: _stored(matrix) for name, matrix in found.items()}
    if file is not None:
        _write(file, smoothed, matrices)
    return Int8Model(weights, matrices)


def _key(checkpoint: Checkpoint, texts: Sequence[str], blocks: Mapping[str, int]) -> str:
    """Return a hash of all that decides the result but for the code: a release keeps results only
    while it runs."""
    what = [checkpoint.file_hashes(), checkpoint.window_used, list(texts), dict(blocks)]
    return hashlib.sha256(json.dumps(what, default=str).encode()).hexdigest()[:24]


def _write(file: Path, smoothed: SmoothedWeights, matrices: Mapping[str, Int8Matrix]) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for i, layer in enumerate(smoothed.smoothing):
        arrays |= {f"smoothing/{i}/{name}": values for name, values in layer.items()}
    for name, matrix in matrices.items():
        arrays[f"{name}/codes"], arrays[f"{name}/scales"] = matrix.codes, matrix.scales
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.partial.npz")
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(file)


def _read(file: Path, checkpoint: Checkpoint, blocks: Mapping[str, int]) -> Int8Model:
    plain = ModelWeights(checkpoint)
    with np.load(file) as found:
        names = [key.removesuffix("/codes") for key in found if key.endswith("/codes")]
        matrices = {
            name: Int8Matrix(found[f"{name}/codes"], found[f"{name}/scales"]) for name in names
        }
        smoothing = tuple(
            {site.name: found[f"smoothing/{i}/{site.name}"] for site in plain.sites}
            for i in range(plain.architecture.num_layers)
        )
    return Int8Model(RotatedWeights(SmoothedWeights(checkpoint, smoothing), blocks), matrices)


def _stored(found: Rounded) -> Int8Matrix:
    return Int8Matrix(
        found.codes.numpy().astype(np.int8), np.ascontiguousarray(found.grid.scale[:, 0].numpy())
    )
