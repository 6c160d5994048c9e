"""A model rounded layer by layer, each given what the rounded layers before it produce."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from exporter.quantization.forward import (
    INPUTS,
    Batch,
    Round,
    embed,
    layer_steps,
    layer_weights,
    pooled_states,
    torch_module,
)
from exporter.quantization.gptq import Grid, Moments, aim, compensate, one_thread
from exporter.quantization.inputs import check_finite
from exporter.quantization.rotate import RotatedWeights, hadamard

Floats = npt.NDArray[np.float32]


class Fit(Protocol):
    """Chooses the grid of a matrix. `name` as `layers.0.mlp.up_proj`, weight: (out, in) torch
    float32, importance: (in,), the weight of each column's squared error."""

    def __call__(self, name: str, weight: Any, importance: Any) -> Grid: ...


RoundInput = Callable[[str, Any], Any]
"""Given the site (`INPUTS`) and the rotated input, (..., width), returns what the runtime makes of
it, in float32."""


@dataclass(frozen=True)
class Rounded:
    """A matrix as stored. codes: (out, in) torch float32, whole numbers that `grid` explains."""

    codes: Any
    grid: Grid

    def values(self) -> Any:
        """Return the weights as a runtime sees them, (out, in) torch float32."""
        return self.grid.values(self.codes)


def exact(site: str, values: Any) -> Any:
    """A `RoundInput` that rounds nothing."""
    del site
    return values


def round_rows(site: str, values: Any) -> Any:
    """A `RoundInput`: 8 bits with a scale a row, as the int8 graphs compute it."""
    del site
    largest = values.abs().amax(-1, keepdim=True).clamp_min(SMALLEST_ROW)
    return (values / largest * 127).round() * (largest / 127)


SMALLEST_ROW = 1e-20  # a row of zeros is divided by this


def rotated(values: Any, block: int) -> Any:
    """Return `values`, (..., width) torch, each run of `block` multiplied by a Hadamard matrix."""
    if block == 1:
        return values
    turned = values.unflatten(-1, (-1, block)) @ torch_module().from_numpy(hadamard(block))
    return turned.flatten(-2)


def quantize_layers(
    weights: RotatedWeights, texts: Sequence[str], *, fit: Fit, round_input: RoundInput,
    round_table: Round | None = None, on_layer: Callable[[int], None] | None = None,
) -> tuple[dict[str, Rounded], Floats]:  # fmt: skip
    """Round every projection of the backbone by GPTQ, each site given the rounded inputs that the
    rounded model makes, aiming at the products of the unrounded model.

    texts: prompts applied. Returns the matrices by name (`layers.0.self_attn.q_proj`) and the
    mean-pooled states that they make, (n, hidden). Deterministic on one machine, whatever the
    number of threads. Raises BadInput naming the first text whose activations are not finite.
    """
    torch = torch_module()
    made: dict[str, Rounded] = {}
    with torch.inference_mode():
        plain = embed(weights, texts, dtype=torch.float32)
        rough = embed(weights, texts, dtype=torch.float32, round_rows=round_table)
        for i in range(weights.architecture.num_layers):
            layer = layer_weights(weights, i, dtype=torch.float32)
            pairs = [
                (_Run(weights, i, dict(layer), one), _Run(weights, i, layer, other))
                for one, other in zip(plain, rough, strict=True)
            ]
            for site, names in INPUTS.items():
                block = weights.runtime_block(site)
                moments = _moments(pairs, site, block=block, round_input=round_input)
                for name in names:
                    full = f"layers.{i}.{name}"
                    wanted = aim(layer[name], moments)
                    grid = fit(full, wanted, moments.diagonal)
                    found = Rounded(compensate(wanted, moments.gram, grid), grid)
                    made[full], layer[name] = found, found.values()
            for one, other in pairs:
                one.finish()
                other.finish()
            check_finite(_sums(rough, len(texts)), texts)
            if on_layer is not None:
                on_layer(i)
        return made, pooled_states(weights, rough, count=len(texts))


def run_rounded(
    weights: RotatedWeights, texts: Sequence[str], *, matrices: Mapping[str, Rounded] | None,
    round_input: RoundInput, round_table: Round | None = None,
) -> Floats:  # fmt: skip
    """Return the mean-pooled states, (n, hidden), of the model as it is stored and computed.

    `matrices` None: the weights as they are, so that only inputs are rounded.
    """
    torch = torch_module()
    with torch.inference_mode():
        batches = embed(weights, texts, dtype=torch.float32, round_rows=round_table)
        for i in range(weights.architecture.num_layers):
            layer = layer_weights(weights, i, dtype=torch.float32)
            for names in INPUTS.values():
                for name in names:
                    if matrices is not None:
                        layer[name] = matrices[f"layers.{i}.{name}"].values()
            for batch in batches:
                running = _Run(weights, i, layer, batch)
                for site in INPUTS:
                    values = rotated(running.advance(site), weights.runtime_block(site))
                    running.replace(round_input(site, values))
                running.finish()
        made: Floats = pooled_states(weights, batches, count=len(texts))
        return made


class _Run:
    """One layer over one batch, stopped at the inputs of its matrices."""

    def __init__(self, weights: RotatedWeights, layer: int, w: Any, batch: Batch) -> None:
        self.batch = batch
        self._steps = layer_steps(weights, layer, w, batch)
        self._answer: Any = None

    def advance(self, site: str) -> Any:
        """Run to `site` and return its values, (batch, sequence, width)."""
        answer, self._answer = self._answer, None
        while True:
            found, values = self._steps.send(answer)
            if found == site:
                return values
            answer = None

    def replace(self, values: Any) -> None:
        """Say what the layer goes on with from the site it is stopped at."""
        self._answer = values

    def finish(self) -> None:
        """Run to the end of the layer."""
        answer, self._answer = self._answer, None
        try:
            while True:
                self._steps.send(answer)
                answer = None
        except StopIteration:
            return


def _moments(
    pairs: Sequence[tuple[_Run, _Run]], site: str, *, block: int, round_input: RoundInput
) -> Moments:
    """Run both models to `site` and sum up what their inputs are to each other."""
    gram: Any = 0
    missing: Any = 0
    for plain, rough in pairs:
        wanted = rotated(plain.advance(site), block)
        given = round_input(site, rotated(rough.advance(site), block))
        plain.replace(wanted)
        rough.replace(given)
        rows, truth = given[rough.batch.mask], wanted[plain.batch.mask]
        with one_thread():
            gram = gram + rows.T @ rows
            missing = missing + (truth - rows).T @ rows
    return Moments(gram, missing)


def _sums(batches: Sequence[Batch], count: int) -> Floats:
    """Return (count, 1): finite where all of a text's states are."""
    made = np.empty((count, 1), np.float32)
    for batch in batches:
        states = torch_module().where(batch.mask[..., None], batch.states, 0)
        made[batch.indices, 0] = states.sum(dim=(1, 2)).numpy()
    return made
