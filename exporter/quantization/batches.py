"""Texts as rows of the embedding table, in batches of similar length, with their masks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.steps import Copy, LayerNorm, Place, Step, writes
from exporter.quantization.functions import Weights, layer_norm, torch_module
from exporter.quantization.inputs import batch_by_length, table_rows, token_rows
from exporter.quantization.step_weights import step_weights
from exporter.quantization.weights import ModelWeights

Round = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

MASKED = -30000.0  # twice that is still a finite fp16


@dataclass
class Batch:
    """Texts of similar length. mask: (b, s) bool; states: (b, s, hidden), replaced layer by layer;
    biases: the additive mask of each name in `Family.reach`, (b, 1, s, s); given: what else every
    layer is given by its name, as `Family.entry` made it."""

    indices: list[int]
    mask: Any
    states: Any
    biases: dict[str, Any]
    given: dict[str, Any] = field(default_factory=dict)


def embed(
    source: ModelWeights, texts: Sequence[str], *, dtype: Any, round_rows: Round | None = None
) -> list[Batch]:
    """Tokenize and look up. Returns batches of at most 2,048 padded tokens, states in `dtype`.

    `round_rows` turns rows of the table into what a quantized table holds.
    """
    torch = torch_module()
    checkpoint, a = source.checkpoint, source.architecture
    rows = token_rows(checkpoint, texts)
    used = sorted({i for row in rows for i in row})
    at = {token: place for place, token in enumerate(used)}
    found = table_rows(checkpoint, used)
    if round_rows is not None:
        found = round_rows(found)
    with np.errstate(over="ignore"):  # what overflows is refused by name afterwards
        table = found * np.float32(source.embed_scale)
    table = torch.from_numpy(table).to(dtype)
    entry = source.family.entry(a)
    w = step_weights(source, entry, dtype=dtype)
    batches = []
    for picked in batch_by_length(rows):
        width = max(len(rows[i]) for i in picked)
        ids = torch.zeros((len(picked), width), dtype=torch.int64)
        mask = torch.zeros((len(picked), width), dtype=torch.bool)
        for n, i in enumerate(picked):
            ids[n, : len(rows[i])] = torch.tensor([at[t] for t in rows[i]])
            mask[n, : len(rows[i])] = True
        env = {"x": table[ids]}
        for step in entry:
            made = _enter(source, step, w, env, rows=[rows[i] for i in picked])
            env[writes(step)[0]] = made
        ahead = torch.arange(width)[None, :] - torch.arange(width)[:, None]
        hidden = ahead > (0 if source.family.causal else width)
        biases: dict[str, Any] = {}
        for name, reach in source.family.reach(a).items():
            far = hidden | (ahead.abs() > (width if reach is None else reach))
            biases[name] = (far[None, None] * MASKED + (~mask)[:, None, None] * MASKED).to(dtype)
        batches.append(Batch(picked, mask, env.pop("x"), biases, env))
    return batches


def _enter(
    source: ModelWeights,
    step: Step,
    w: Weights,
    env: Mapping[str, Any],
    *,
    rows: Sequence[Sequence[int]],
) -> Any:
    """Return what a step of `Family.entry` makes. rows: the texts' ids."""
    torch = torch_module()
    if isinstance(step, Copy):
        return env[step.x]
    assert isinstance(step, LayerNorm | Place), step
    states = env[step.x]
    if isinstance(step, LayerNorm):
        return layer_norm(states, w, step.weight, epsilon=source.epsilon(step.weight))
    places = torch.zeros(states.shape[:2], dtype=torch.int64)
    for n, row in enumerate(rows):
        places[n, : len(row)] = torch.tensor(places_of(row, unplaced=step.unplaced))
    return states + w[step.weight][places]


def places_of(row: Sequence[int], *, unplaced: int | None) -> list[int]:
    """Return the place of each token of a text: see `Place`."""
    if unplaced is None:
        return list(range(len(row)))
    counts = accumulate(token != unplaced for token in row)
    return [
        unplaced + (count if token != unplaced else 0)
        for token, count in zip(row, counts, strict=True)
    ]
