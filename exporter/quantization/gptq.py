"""4-bit weights whose errors compensate each other: GPTQ (https://arxiv.org/abs/2210.17323).

Layer by layer; each layer is given what the quantized layers before it produce, so that later
weights make up for earlier errors.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.quantization.forward import (
    INPUTS,
    Batch,
    embed,
    layer_weights,
    pooled_states,
    run_layer,
    torch_module,
)
from exporter.quantization.inputs import check_finite
from exporter.quantization.weights import ModelWeights

BLOCK = 32  # weights that share a scale
MIDDLE = 8  # codes 0 to 15 stand for -8 to 7
COLUMNS = 128  # columns treated before their error is spread over the rest
DAMPING = 0.01  # of the mean diagonal, added to the Hessian
# A block's largest value is put at 8 times the scale, either sign, times these: the best is kept.
STRETCH = (1.0, 0.93, 0.86, 0.8, 1.07, 8 / 7)


@dataclass(frozen=True)
class Quantized:
    """A matrix in 4 bits. codes: (rows, columns) uint8, 0 to 15; scales: (rows, blocks) float32.
    A weight is (code - 8) * the scale of its block of 32 columns."""

    codes: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float32]

    def values(self) -> npt.NDArray[np.float32]:
        """Return the weights as a runtime sees them, (rows, columns) float32."""
        scales = self.scales.repeat(BLOCK, axis=1)[:, : self.codes.shape[1]]
        return (self.codes.astype(np.float32) - MIDDLE) * scales


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch in one thread: sums over all tokens, and factors of them, are split among threads
    otherwise, round differently with their number, and a weight's code may flip."""
    torch = torch_module()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def quantize_blocks(values: Any, importance: Any | None = None) -> tuple[Any, Any]:
    """Round blocks to 4 bits, each with the scale that gives the least squared error.

    values: (n, width) torch float32; importance: (width,), the weight of each column's error.
    Returns codes (n, width) float32, 0 to 15, and scales (n, 1).
    """
    torch = torch_module()
    weight = torch.ones(values.shape[-1]) if importance is None else importance
    at = values.abs().argmax(dim=-1, keepdim=True)
    first = values.gather(-1, at) / -MIDDLE
    best = codes = least = None
    for stretch in STRETCH:
        for sign in (1.0, -1.0):
            scale = first * (stretch * sign)
            inverse = torch.where(scale == 0, 0, 1 / scale)
            found = (values * inverse).round().clamp(-MIDDLE, MIDDLE - 1)
            # The scale that fits these codes best.
            weighted = found * weight
            denominator = (weighted * found).sum(-1, keepdim=True)
            fitted = (weighted * values).sum(-1, keepdim=True) / denominator.clamp_min(1e-30)
            error = ((values - found * fitted).square() * weight).sum(-1, keepdim=True)
            if least is None or best is None or codes is None:
                best, codes, least = fitted, found, error
                continue
            better = error < least
            best = torch.where(better, fitted, best)
            codes = torch.where(better, found, codes)
            least = torch.where(better, error, least)
    assert codes is not None
    return codes + MIDDLE, best


def quantize_matrix(weight: Any, hessian: Any) -> Quantized:
    """Quantize by GPTQ. weight: (out, in) torch float32; hessian: (in, in), x'x over the inputs.

    Each column's rounding error is spread over the columns not yet rounded, by the inverse
    Hessian, so that the products change least.
    """
    torch = torch_module()
    rest = weight.clone()
    width = rest.shape[1]
    hessian = hessian.clone()
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1
    diagonal += DAMPING * diagonal.mean()
    importance = diagonal / diagonal.mean()
    with one_thread():
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
        upper = torch.linalg.cholesky(inverse, upper=True)
    codes = torch.zeros_like(rest)
    scales = torch.zeros(len(rest), -(-width // BLOCK))
    scale = scales[:, :1]
    for start in range(0, width, COLUMNS):
        stop = min(start + COLUMNS, width)
        block, spread = rest[:, start:stop], torch.zeros(len(rest), stop - start)
        for i in range(stop - start):
            column = start + i
            if column % BLOCK == 0:
                end = min(i + BLOCK, stop - start)
                _, scale = quantize_blocks(block[:, i:end], importance[column : start + end])
                scales[:, column // BLOCK] = scale[:, 0]
            at = block[:, i : i + 1]
            found = torch.where(scale == 0, 0, at / scale).round().clamp(-MIDDLE, MIDDLE - 1)
            codes[:, column : column + 1] = found + MIDDLE
            error = (at - found * scale) / upper[column, column]
            block[:, i:] -= error * upper[column, column:stop]
            spread[:, i : i + 1] = error
        rest[:, stop:] -= spread @ upper[start:stop, stop:]
    return Quantized(codes.to(torch.uint8).numpy(), scales.numpy())


def quantize_table_rows(rows: npt.NDArray[np.float32]) -> Quantized:
    """Quantize rows of the embedding table, each block by itself. rows: (n, hidden)."""
    torch = torch_module()
    with torch.inference_mode():
        values = torch.from_numpy(rows)
        n, width = rows.shape
        padded = torch.nn.functional.pad(values, (0, -width % BLOCK))
        codes, scales = quantize_blocks(padded.view(-1, BLOCK))
        codes = codes.view(n, -1)[:, :width].to(torch.uint8).numpy()
        return Quantized(np.ascontiguousarray(codes), scales.view(n, -1).numpy())


def quantize_model(
    weights: ModelWeights, texts: Sequence[str], *, on_layer: Callable[[int], None] | None = None
) -> tuple[dict[str, Quantized], npt.NDArray[np.float32]]:
    """Return every projection of the backbone in 4 bits, by name (`layers.0.self_attn.q_proj`),
    and the mean-pooled states that they make, (n, hidden).

    texts: prompts applied. Raises BadInput naming the first text whose activations are not finite.
    """
    torch = torch_module()
    made: dict[str, Quantized] = {}
    with torch.inference_mode():
        batches = embed(weights, texts, dtype=torch.float32, round_rows=rounded_rows)
        for i in range(weights.architecture.num_layers):
            layer = layer_weights(weights, i, dtype=torch.float32)
            hessians: dict[str, Any] = {}

            def watch(_: int, site: str, values: Any, found: dict[str, Any] = hessians) -> None:
                with one_thread():
                    found[site] = found.get(site, 0) + values.T @ values

            states = [batch.states for batch in batches]
            for batch in batches:
                run_layer(weights, i, layer, batch, watch=watch, watched=INPUTS)
            check_finite(_sums(batches, len(texts)), texts)
            for site, names in INPUTS.items():
                for name in names:
                    found = quantize_matrix(layer[name], hessians[site])
                    made[f"layers.{i}.{name}"] = found
                    layer[name] = torch.from_numpy(found.values())
            for batch, before in zip(batches, states, strict=True):
                batch.states = before
                run_layer(weights, i, layer, batch)
            if on_layer is not None:
                on_layer(i)
        return made, pooled_states(weights, batches, count=len(texts))


def rounded_rows(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return rows of the embedding table as 4 bits leave them."""
    return quantize_table_rows(rows).values()


def _sums(batches: Sequence[Batch], count: int) -> npt.NDArray[np.float32]:
    """Return (count, 1): finite where all of a text's states are."""
    made = np.empty((count, 1), np.float32)
    for batch in batches:
        states = torch_module().where(batch.mask[..., None], batch.states, 0)
        made[batch.indices, 0] = states.sum(dim=(1, 2)).numpy()
    return made
