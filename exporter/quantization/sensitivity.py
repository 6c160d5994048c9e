"""What each width of each tensor costs the final vector, measured on calibration texts.

Each matrix is rounded by GPTQ in every width that its format has. With the narrowest, the rest of
the model is run on texts that nothing was fitted on, and the vector compared. The error of a
matrix' own product on those texts, inputs rounded as its runtime does, tells how much less the
wider ones cost: the vector's error is small, so it grows with the square of the product's.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import TABLE, Site, layer_name, name_in_layer
from exporter.checkpoint.contents import Checkpoint
from exporter.quantization.batches import Batch, Round, embed
from exporter.quantization.forward import pooled_states, run_layer
from exporter.quantization.functions import torch_module
from exporter.quantization.gptq import Grid, Moments, compensate, one_thread
from exporter.quantization.inputs import check_finite
from exporter.quantization.rotate import RotatedWeights
from exporter.quantization.rounding import Fit, rotated
from exporter.quantization.step_weights import layer_weights

Floats = npt.NDArray[np.float32]

FITTED, JUDGED = 48, 16
"""Texts that matrices are rounded on, and others that vectors are compared on."""
SMALLEST = 1e-12  # of an error that is divided by


@dataclass(frozen=True)
class Width:
    """One way of storing a matrix. `round_input`: what the runtime makes of its input, (..., width)
    torch float32."""

    name: str
    fit: Fit
    round_input: Callable[[Any], Any]


WidthsOf = Callable[[Site], Sequence[Width]]
"""Returns the widths of a site's matrices, the narrowest first."""


def measure_sensitivity(
    weights: RotatedWeights,
    texts: Sequence[str],
    *,
    widths: WidthsOf,
    tables: Mapping[str, Round],
    on_layer: Callable[[int], None] | None = None,
) -> dict[str, dict[str, float]]:
    """Return 1 - cosine to the unrounded model's vector, the mean over texts, by tensor and width.

    texts: prompts applied; 48 and 16 of them are used. `tables`: what each width makes of rows of
    the embedding table. Tensors are named as `layers.0.self_attn.q_proj` and `embed_tokens.weight`.
    The weights of all layers are held in float32. Deterministic on one machine. Raises BadInput
    for activations that are not finite, MissingDependency without torch.
    """
    torch = torch_module()
    judged, fitted = _split(texts)
    found: dict[str, dict[str, float]] = {}
    with torch.inference_mode():
        model = _Model(weights, judged)
        found[TABLE] = {
            name: model.error(embed(weights, judged, dtype=torch.float32, round_rows=rounded), 0)
            for name, rounded in tables.items()
        }
        fit = embed(weights, fitted, dtype=torch.float32)
        judge = embed(weights, judged, dtype=torch.float32)
        for i in range(weights.architecture.num_layers):
            before = [batch.states for batch in judge]
            seen, rows = (_site_rows(model, i, batches) for batches in (fit, judge))
            for site in weights.sites:
                names = [layer_name(i, matrix) for matrix in site.matrices]
                made = _rounded(model, names, seen[site.name], widths(site))
                for name in names:
                    matrices = [values[name] for values in made.values()]
                    own = _product_errors(model, name, matrices, widths(site), rows[site.name])
                    changed = {name: model.unrotated(name, matrices[0])}
                    start = [replace(b, states=x) for b, x in zip(judge, before, strict=True)]
                    whole = model.error(start, i, changed) / max(own.weight, SMALLEST)
                    found[name] = {
                        width.name: whole * each
                        for width, each in zip(widths(site), own.with_input, strict=True)
                    }
            if on_layer is not None:
                on_layer(i)
        check_finite(pooled_states(weights, fit, count=len(fitted)), fitted)
    return found


def kept_sensitivity(
    keep: Path | None,
    checkpoint: Checkpoint,
    texts: Sequence[str],
    *,
    what: str,
    measure: Callable[[], dict[str, dict[str, float]]],
) -> dict[str, dict[str, float]]:
    """Return what `measure` returns, or what the folder `keep` has of the same weights and texts:
    it serves every budget. `what`: the format's name."""
    if keep is None:
        return measure()
    key = json.dumps([what, checkpoint.file_hashes(), checkpoint.window_used, list(texts)])
    file = keep / f"sensitivity-{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    if file.is_file():
        read: dict[str, dict[str, float]] = json.loads(file.read_text(encoding="utf-8"))
        return read
    made = measure()
    keep.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(made), encoding="utf-8")
    partial.replace(file)
    return made


def _split(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return texts to judge on and texts to fit on, spread over all, none in both. Those to judge
    on are of the shorter half: each goes through the model once for every matrix."""
    short = sorted(texts, key=len)[: max(1, len(texts) // 2)]
    judged = short[:: max(1, len(short) // JUDGED)][:JUDGED]
    taken = set(judged)
    rest = [text for text in texts if text not in taken]
    return judged, rest[:: max(1, len(rest) // FITTED)][:FITTED]


class _Model:
    """The unrounded model in memory, and the vectors it gives to the judged texts."""

    def __init__(self, weights: RotatedWeights, texts: Sequence[str]) -> None:
        torch = torch_module()
        self.weights, self._texts = weights, texts
        self._read_by = {m: site.name for site in weights.sites for m in site.matrices}
        self.rotated_layers: list[dict[str, Any]] = [
            layer_weights(weights, i, dtype=torch.float32)
            for i in range(weights.architecture.num_layers)
        ]
        self.layers = [
            {name: self.unrotated(name, values) for name, values in layer.items()}
            for layer in self.rotated_layers
        ]
        head = weights.head(dim=weights.checkpoint.dim)
        self._head = None if head is None else torch.from_numpy(head)
        self._truth = self._vectors(embed(weights, texts, dtype=torch.float32), 0, {})

    def unrotated(self, name: str, values: Any) -> Any:
        """Return a matrix for inputs that are not rotated at run time; gains as they are."""
        site = self._read_by.get(name_in_layer(name)[1])
        return values if site is None else rotated(values, self.weights.runtime_block(site))

    def error(
        self, batches: Sequence[Batch], layer: int, changed: Mapping[str, Any] | None = None
    ) -> float:
        """Return the mean of 1 - cosine with `changed` weights, given the states before `layer`,
        which are used up."""
        found = self._vectors(batches, layer, changed or {})
        return float((1 - (found * self._truth).sum(dim=1)).mean().clamp_min(0))

    def _vectors(self, batches: Sequence[Batch], layer: int, changed: Mapping[str, Any]) -> Any:
        torch = torch_module()
        for i in range(layer, len(self.layers)):
            for batch in batches:
                run_layer(self.weights, i, {**self.layers[i], **changed}, batch)
        pooled = pooled_states(self.weights, batches, count=len(self._texts))
        check_finite(pooled, self._texts)
        found = torch.from_numpy(pooled)
        found = found if self._head is None else found @ self._head
        return torch.nn.functional.normalize(found.double(), dim=1)


def _site_rows(model: _Model, layer: int, batches: Sequence[Batch]) -> dict[str, Any]:
    """Run a layer. Returns the rotated inputs of each site, (tokens, width)."""
    torch = torch_module()
    seen: dict[str, list[Any]] = {site.name: [] for site in model.weights.sites}

    def watch(layer: int, site: str, values: Any) -> None:
        del layer
        seen[site].append(rotated(values, model.weights.runtime_block(site)))

    for batch in batches:
        run_layer(
            model.weights, layer, model.layers[layer], batch, watch=watch, watched=frozenset(seen)
        )
    return {site: torch.cat(rows) for site, rows in seen.items()}


def _rounded(
    model: _Model, names: Sequence[str], rows: Any, widths: Sequence[Width]
) -> dict[str, dict[str, Any]]:
    """Return the matrices of one site in every width, (out, in) each, by width and name."""
    made: dict[str, dict[str, Any]] = {}
    matrices = {name: model.rotated_layers[name_in_layer(name)[0]][name] for name in names}
    for width in widths:
        given = width.round_input(rows)
        with one_thread():
            moments = Moments(given.T @ given)
        grids = {
            name: _grid(width, name, matrix, moments.diagonal) for name, matrix in matrices.items()
        }
        codes = compensate(list(matrices.values()), moments.gram, list(grids.values()))
        made[width.name] = {
            name: grid.values(found)
            for (name, grid), found in zip(grids.items(), codes, strict=True)
        }
    return made


def _grid(width: Width, name: str, matrix: Any, importance: Any) -> Grid:
    found = width.fit(name, matrix, importance)
    assert found is not None, (width.name, name)
    return found


@dataclass(frozen=True)
class _ProductErrors:
    """Squared errors of a matrix' products: `weight`, of the narrowest with exact inputs;
    `with_input`, of every width with inputs rounded as its runtime does."""

    weight: float
    with_input: tuple[float, ...]


def _product_errors(
    model: _Model, name: str, matrices: Sequence[Any], widths: Sequence[Width], rows: Any
) -> _ProductErrors:
    wanted = rows @ model.rotated_layers[name_in_layer(name)[0]][name].T

    def off(values: Any, given: Any) -> float:
        return float((given @ values.T - wanted).double().square().sum())

    return _ProductErrors(
        off(matrices[0], rows),
        tuple(
            off(values, width.round_input(rows))
            for values, width in zip(matrices, widths, strict=True)
        ),
    )
