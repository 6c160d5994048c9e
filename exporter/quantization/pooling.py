"""How token states become one vector: what each token weighs in it."""

from typing import Any


def token_weights(mask: Any, pooling: str) -> Any:
    """Return what each token weighs, (batch, sequence) float32 torch. mask: of that shape, other
    than 0 for real tokens, which may lie on either side of the padding.

    The vector is the sum of the states by these weights over the sum of the weights.
    """
    real = (mask != 0).float()
    if pooling == "mean":
        return real
    if pooling == "cls":
        return (real.cumsum(1) == 1).float() * real
    assert pooling == "lasttoken", pooling
    places = real.cumsum(1) * real
    return (places == places.amax(1, keepdim=True)).float() * real
