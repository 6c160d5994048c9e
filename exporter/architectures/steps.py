"""A transformer layer as a sequence of named steps.

A family yields them (`Family.layer`); `quantization.forward` runs them in torch, and every format
lowers them to its own operators. Values are named; `x` is the residual stream, (batch, sequence,
hidden), on which each layer begins and ends; what a family's entry makes besides is given to every
layer. A weight is named in full, without `.weight`. `site`
names a value that calibration measures.
"""

from dataclasses import dataclass
from typing import Literal

Activation = Literal["gelu", "gelu_tanh", "silu"]
"""`gelu`: the exact one, by erf."""


@dataclass(frozen=True)
class Norm:
    """out = x / rms(x) * gain. `heads`: each row is that many, normalized one by one; 0: whole.

    `plain`: the width of what is normalized where the norm has no gain, and `weight` only names it;
    0 where it has one.
    """

    x: str
    out: str
    weight: str
    heads: int = 0
    site: str = ""
    plain: int = 0


@dataclass(frozen=True)
class LayerNorm:
    """out = (x - mean(x)) / std(x) * gain + bias, over each row."""

    x: str
    out: str
    weight: str
    site: str = ""


@dataclass(frozen=True)
class Place:
    """out = x + weight[place] + always[0], by the place of each token in its text.

    `unplaced`: None counts all tokens from 0. An id: tokens with that id are not counted and take
    its row; the others take the rows behind it, as RoBERTa counts from its padding's id on.
    """

    x: str
    out: str
    weight: str
    always: str
    unplaced: int | None = None


@dataclass(frozen=True)
class Copy:
    """out = x: the values of x for matrices alone, so that what rounds them leaves x as it is."""

    x: str
    out: str
    site: str = ""


@dataclass(frozen=True)
class Product:
    """One matrix of a `Project`: out = x @ weight.T. `heads`: of how many a row consists, 0: none.

    `bias`: whether a bias, named as the matrix, is added. `late_factor`: whether a factor of whole
    rows may be left out of `out` and made up for behind the next matrix, since all that lies
    between is multiplied by it.
    """

    weight: str
    out: str
    heads: int = 0
    site: str = ""
    late_factor: bool = False
    bias: bool = False


@dataclass(frozen=True)
class Project:
    """The matrices that read one value: a scheme may round it once for all of them. `site`: its
    name, one of `Family.sites`."""

    x: str
    site: str
    products: tuple[Product, ...]


@dataclass(frozen=True)
class Rotate:
    """Rotary positions on each head of `x`, in place: its first half against its second, by angle
    position / theta ** (2 i / head_dim). `table`: one of `Family.rotary`."""

    x: str
    heads: int
    table: str


@dataclass(frozen=True)
class Attend:
    """out = softmax(q @ k.T * scale + mask) @ v, by head; heads of `k` and `v` each serve
    heads / kv_heads of `q`. `mask`: one of `Family.reach`."""

    q: str
    k: str
    v: str
    out: str
    heads: int
    kv_heads: int
    head_dim: int
    mask: str
    scale: float
    site: str = ""
    scores_site: str = ""


@dataclass(frozen=True)
class Gate:
    """out = activation(gate) * up."""

    gate: str
    up: str
    out: str
    activation: Activation
    site: str = ""


@dataclass(frozen=True)
class Activate:
    """out = activation(x)."""

    x: str
    out: str
    activation: Activation
    site: str = ""


@dataclass(frozen=True)
class Add:
    """out = x + y."""

    x: str
    y: str
    out: str
    site: str = ""


@dataclass(frozen=True)
class Scale:
    """out = x * factor, one stored number."""

    x: str
    out: str
    factor: str
    site: str = ""


Step = Norm | LayerNorm | Place | Copy | Project | Rotate | Attend | Gate | Activate | Add | Scale


def reads(step: Step) -> tuple[str, ...]:
    """Return the values that a step needs."""
    match step:
        case Norm(x=x) | LayerNorm(x=x) | Place(x=x) | Copy(x=x) | Activate(x=x):
            return (x,)
        case Project(x=x) | Rotate(x=x) | Scale(x=x):
            return (x,)
        case Attend(q=q, k=k, v=v):
            return (q, k, v)
        case Gate(gate=gate, up=up):
            return (gate, up)
        case Add(x=x, y=y):
            return (x, y)


def given(steps: tuple[Step, ...]) -> frozenset[str]:
    """Return the values that steps read and that none before has made."""
    found: set[str] = set()
    made: set[str] = set()
    for step in steps:
        found |= set(reads(step)) - made
        made |= set(writes(step))
    return frozenset(found)


def last_reads(steps: tuple[Step, ...]) -> tuple[frozenset[str], ...]:
    """Return, for each step of a layer, the values that no later one reads: they need not be held
    any longer. What the layer is given outlives it: the next one is given the same."""
    made: list[frozenset[str]] = []
    needed = set(given(steps))
    for step in reversed(steps):
        wanted = reads(step)
        made.append(frozenset(wanted) - needed)
        # Below this step its outputs do not exist, whatever later steps read of them.
        needed = (needed - set(writes(step))) | set(wanted)
    return tuple(reversed(made))


def writes(step: Step) -> tuple[str, ...]:
    """Return the values that a step makes."""
    match step:
        case Project(products=products):
            return tuple(product.out for product in products)
        case Rotate(x=x):
            return (x,)
        case _:
            return (step.out,)
