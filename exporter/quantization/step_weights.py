"""What steps compute with, as torch tensors."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.architectures.steps import LayerNorm, Norm, Place, Project, Scale, Step
from exporter.quantization.functions import torch_module
from exporter.quantization.weights import ModelWeights


def layer_weights(source: ModelWeights, layer: int, *, dtype: Any) -> dict[str, Any]:
    """Return the weights of one layer: see `step_weights`."""
    return step_weights(source, source.family.layer(source.architecture, layer), dtype=dtype)


def step_weights(source: ModelWeights, steps: Iterable[Step], *, dtype: Any) -> dict[str, Any]:
    """Return what steps compute with: matrices, gains and places by their full names, biases by
    those and `.bias`."""
    torch = torch_module()
    found: dict[str, npt.NDArray[np.float32]] = {}
    for step in steps:
        match step:
            case Project(products=products):
                for product in products:
                    found[product.weight] = source.matrix(product.weight)
                    if product.bias:
                        found[product.weight + ".bias"] = source.bias(product.weight)
            case Norm(weight=name):
                found[name] = source.gain(name)
            case LayerNorm(weight=name):
                found |= {name: source.gain(name), name + ".bias": source.bias(name)}
            case Place(weight=name):
                found[name] = source.places(step)
            case Scale(factor=name):
                found[name] = np.array([source.factor(name)], np.float32)
    return {name: torch.from_numpy(values).to(dtype) for name, values in found.items()}
