"""A model rounded layer by layer, each given what the rounded layers before it produce."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import layer_name
from exporter.quantization.batches import Batch, Round, embed
from exporter.quantization.forward import layer_steps, pooled_states
from exporter.quantization.functions import torch_module
from exporter.quantization.gptq import Grid, Moments, aim, compensate, one_thread
from exporter.quantization.inputs import check_finite
from exporter.quantization.rotate import RotatedWeights, hadamard
from exporter.quantization.step_weights import layer_weights

Floats = npt.NDArray[np.float32]
AimChoice = Literal["yes", "no"]


class Fit(Protocol):
    """Chooses the grid of a matrix. `name` as `layers.0.mlp.up_proj`, weight: (out, in) torch
    float32, importance: (in,), the weight of each column's squared error. None: the matrix stays as
    it is."""

    def __call__(self, name: str, weight: Any, importance: Any) -> Grid | None: ...


RoundInput = Callable[[int, str, Any], Any]
"""Given the layer, the site (`Family.sites`) and the rotated input, (..., width), returns what the
runtime makes of it, in float32."""


@dataclass(frozen=True)
class Rounded:
    """A matrix as stored. codes: (out, in) torch int8, or uint8 where they are
    above 127, explained by `grid`."""

    codes: Any
    grid: Grid

    def values(self) -> Any:
        """Return the weights as a runtime sees them, (out, in) torch float32."""
        return self.grid.values(self.codes)


def exact(layer: int, site: str, values: Any) -> Any:
    """A `RoundInput` that rounds nothing."""
    del layer, site
    return values


def round_rows(layer: int, site: str, values: Any) -> Any:
    """A `RoundInput`: 8 bits with a scale a row, as the int8 graphs compute it."""
    del layer, site
    largest = values.abs().amax(-1, keepdim=True).clamp_min(SMALLEST_ROW)
    codes = (values * largest.reciprocal() / STEP).round()
    return codes.mul_(STEP).mul_(largest)


STEP = float(np.float32(1 / 127))
"""Of a row whose largest magnitude is 1."""
SMALLEST_ROW = 1e-20  # a row of zeros is divided by this


def rotated(values: Any, block: int) -> Any:
    """Return `values`, (..., width) torch, each run of `block` multiplied by a Hadamard matrix."""
    if block == 1:
        return values
    turned = values.unflatten(-1, (-1, block)) @ torch_module().from_numpy(hadamard(block))
    return turned.flatten(-2)


def quantize_layers(
    weights: RotatedWeights,
    texts: Sequence[str],
    *,
    fit: Fit,
    round_input: RoundInput,
    round_table: Round | None = None,
    aim_at_original: AimChoice = "no",
    on_layer: Callable[[int], None] | None = None,
) -> dict[str, Rounded]:
    """Round every projection of the backbone by GPTQ, each site given the rounded inputs that the
    rounded model makes.

    texts: prompts applied. `aim_at_original`: whether products aim at those of the unrounded model,
    instead of those of the unrounded matrix with the rounded inputs: see `gptq.aim`. Returns the
    matrices by name (`layers.0.self_attn.q_proj`). Deterministic on one machine, whatever the
    number of threads. Raises BadInput naming the first text whose activations are not finite.
    """
    torch = torch_module()
    made: dict[str, Rounded] = {}
    with torch.inference_mode():
        rough = embed(weights, texts, dtype=torch.float32, round_rows=round_table)
        plain: list[Batch] | None = None
        if aim_at_original == "yes":
            plain = embed(weights, texts, dtype=torch.float32)
        for i in range(weights.architecture.num_layers):
            layer = layer_weights(weights, i, dtype=torch.float32)
            originals = dict(layer)
            runs = [_Run(weights, i, layer, batch) for batch in rough]
            others = [_Run(weights, i, originals, batch) for batch in plain or ()]
            for site in weights.sites:
                block = weights.runtime_block(site.name)
                moments = _moments(
                    runs, others, site.name, block=block, round_input=partial(round_input, i)
                )
                names = [layer_name(i, matrix) for matrix in site.matrices]
                wanted = {name: aim(layer[name], moments) for name in names}
                fitted = {
                    name: fit(name, weight, moments.diagonal) for name, weight in wanted.items()
                }
                grids = {name: grid for name, grid in fitted.items() if grid is not None}
                # The columns of all matrices of a site are rounded in one go.
                found = compensate(
                    [wanted[name] for name in grids], moments.gram, list(grids.values())
                )
                for name, codes in zip(grids, found, strict=True):
                    kind = torch.uint8 if grids[name].high > 127 else torch.int8
                    rounded = Rounded(codes.to(kind), grids[name])
                    made[name], layer[name] = rounded, rounded.values()
            for run in (*runs, *others):
                run.finish()
            check_finite(_sums(rough, len(texts)), texts)
            if on_layer is not None:
                on_layer(i)
    return made


def run_rounded(
    weights: RotatedWeights,
    texts: Sequence[str],
    *,
    matrices: Mapping[str, Rounded] | None,
    round_input: RoundInput,
    round_table: Round | None = None,
) -> Floats:
    """Return the pooled states, (n, hidden), of the model as it is stored and computed.

    `matrices` None: the weights as they are, so that only inputs are rounded.
    """
    torch = torch_module()
    with torch.inference_mode():
        batches = embed(weights, texts, dtype=torch.float32, round_rows=round_table)
        for i in range(weights.architecture.num_layers):
            layer = layer_weights(weights, i, dtype=torch.float32)
            for name in layer:
                found = None if matrices is None else matrices.get(name)
                if found is not None:
                    layer[name] = found.values()
            for batch in batches:
                running = _Run(weights, i, layer, batch)
                for site in weights.sites:
                    block = weights.runtime_block(site.name)
                    values = rotated(running.advance(site.name), block)
                    running.replace(round_input(i, site.name, values))
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
        """Run to `site` and take its values, (batch, sequence, width). `replace` must follow."""
        answer, self._answer = self._answer, None
        while True:
            found, held = self._steps.send(answer)
            if found == site:
                return held.pop()
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
    runs: Sequence[_Run],
    originals: Sequence[_Run],
    site: str,
    *,
    block: int,
    round_input: Callable[[str, Any], Any],
) -> Moments:
    """Run to `site` and sum up what the inputs are, and, where the unrounded model runs beside,
    what they lack."""
    gram: Any = 0
    missing: Any = None
    for at, run in enumerate(runs):
        given = round_input(site, rotated(run.advance(site), block))
        run.replace(given)
        rows = given[run.batch.mask]
        with one_thread():
            gram = gram + rows.T @ rows
        if originals:
            wanted = rotated(originals[at].advance(site), block)
            originals[at].replace(wanted)
            with one_thread():
                lacking = (wanted[run.batch.mask] - rows).T @ rows
                missing = lacking if missing is None else missing + lacking
    return Moments(gram, missing)


def _sums(batches: Sequence[Batch], count: int) -> Floats:
    """Return (count, 1): finite where all of a text's states are."""
    made = np.empty((count, 1), np.float32)
    for batch in batches:
        states = torch_module().where(batch.mask[..., None], batch.states, 0)
        made[batch.indices, 0] = states.sum(dim=(1, 2)).numpy()
    return made
