"""What a model family says of itself: all that other code knows about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from exporter.architectures.steps import Step
from exporter.checkpoint.contents import Architecture, Checkpoint
from exporter.checkpoint.family import ReadFamily
from exporter.registry import FAMILIES, resolve

TABLE = "embed_tokens.weight"
"""The embedding table's name in every family."""


@dataclass(frozen=True)
class Site:
    """The input of the matrices `matrices`, each named within its layer; width: its channels.

    `norm` or `matrix`: whose gain, or rows, make the channels, so that factors of channels can be
    folded into it; neither where something else reads the channels too, or bends them. `head_dim`:
    where heads are only mixed with other tokens' on the way, so that within a head a rotation can
    be folded into `matrix` too; 0: not so. `group`: how many heads of the site each head that
    `matrix` makes becomes. `normed`: a norm without gain stands between each head of `matrix` and
    the site: a rotation passes it, a factor does not. Where layers differ, `width` and `head_dim`
    divide those of all.
    """

    name: str
    matrices: tuple[str, ...]
    width: int
    norm: str = ""
    matrix: str = ""
    head_dim: int = 0
    group: int = 1
    normed: bool = False

    @property
    def takes_factors(self) -> bool:
        """Return whether factors of channels can be folded into what makes them."""
        return bool(self.norm or (self.matrix and not self.normed))


@dataclass(frozen=True)
class Chain:
    """Two matrices with nothing but products between them, whose sum ends in `norm`: a power of two
    may go into each. `inner`: sites between; `output`: the site behind the second. `names`: of
    their two exponents in the manifest. `norm` "": the sum is added to the residual stream as it
    is, so that the two make up the stream's own exponent."""

    first: str
    second: str
    inner: tuple[str, ...]
    output: str
    norm: str
    names: tuple[str, str]


@dataclass(frozen=True)
class HeadNorm:
    """A matrix whose output is normalized head by head before anything else. `name`: of its
    exponent, and the site of what the norm is given."""

    matrix: str
    norm: str
    name: str


@dataclass(frozen=True)
class Fp16Plan:
    """Where powers of two may be moved without a change of the function, so that float16 holds all
    that lies between. `scales_stream`: the residual stream takes one; False where norms stand on it
    and bound it. `residual_norms`: those whose outputs are added to it. `normed`: sites that norms
    are given and that no factor reaches. `undone_by`: matrices that read the stream as it is and
    take its factor out again."""

    scales_stream: bool = True
    residual_norms: tuple[str, ...] = ()
    head_norms: tuple[HeadNorm, ...] = ()
    chains: tuple[Chain, ...] = ()
    normed: tuple[str, ...] = ()
    undone_by: tuple[str, ...] = ()


class GgufFamily(Protocol):
    """How llama.cpp knows the family."""

    architecture: str
    """general.architecture of the file."""
    poolings: Sequence[str]
    """How its vectors are pooled, by llama.cpp's names."""
    usual_poolings: Sequence[str]
    """Those that its base models were trained with."""
    tokenizer: str
    """What kind of tokenizer its files hold: tokenizer.ggml.model."""
    pre: str
    """How texts are split before pieces are looked for: tokenizer.ggml.pre."""
    adds: Sequence[str]
    """Which of `bos` and `eos` its tokenizer puts around a text."""
    end: str
    """The token that is its `eos`, "" where the checkpoint's configs decide."""
    dense: bool
    """Whether Dense modules follow the pooling."""
    sliding: bool
    """Whether some of its layers have a sliding window."""
    layer_tensors: Sequence[str]
    """What each layer's tensors are called there, behind the layer's number."""
    other_tensors: Sequence[str]
    """What those outside of layers are called there."""

    def tensor_name(self, name: str) -> str:
        """Return the file's name of a backbone tensor, `layers.0.mlp.up_proj.weight`."""
        ...

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise BadInput where llama.cpp would load the file and compute something else."""
        ...

    def keys(self, architecture: Architecture, *, file_type: int) -> Sequence[tuple[str, Any]]:
        """Return (`add_` method of gguf's writer, value), in the order of llama.cpp's converter."""
        ...

    def tokenizer_keys(self, architecture: Architecture) -> Sequence[tuple[str, Any]]:
        """Return the same of what stands before the vocabulary."""
        ...


class Family(ReadFamily, Protocol):
    """A model family: read by `ReadFamily`, run and lowered by what is here."""

    fp16: Fp16Plan | None
    """None: no artifact in float16."""
    gguf: GgufFamily | None
    """None: no GGUF."""
    no_gguf: str
    """Why there is none, "" where there is."""
    causal: bool
    """Whether a position sees none behind it, by every mask of `reach`."""

    def described(self, architecture: Architecture) -> Sequence[tuple[str, str]]:
        """Return (what, how much) of the model's size, for `inspect`."""
        ...

    def embed_scale(self, architecture: Architecture) -> float:
        """Return the factor of the embedding table's rows."""
        ...

    def gain(self, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the gain of a norm whose stored weight is given, both (n,)."""
        ...

    def epsilon(self, architecture: Architecture) -> float:
        """Return the eps of the norms."""
        ...

    def rotary(self, architecture: Architecture) -> Mapping[str, float]:
        """Return theta of each table of rotary positions, by its name, in a fixed order."""
        ...

    def rotary_dim(self, architecture: Architecture, table: str) -> int:
        """Return the width of what `table` rotates: a head's."""
        ...

    def reach(self, architecture: Architecture) -> Mapping[str, int | None]:
        """Return how far apart positions see each other by each mask, None: however far."""
        ...

    def entry(self, architecture: Architecture) -> tuple[Step, ...]:
        """Return the steps before the first layer, from `x`, rows of the table, to `x` and whatever
        else layers are given."""
        ...

    def layer(self, architecture: Architecture, index: int) -> tuple[Step, ...]:
        """Return the steps of a layer, from `x` to `x`."""
        ...

    def final(self, architecture: Architecture) -> tuple[Step, ...]:
        """Return the steps behind the last layer, from `x` to `h`."""
        ...

    def sites(self, architecture: Architecture) -> tuple[Site, ...]:
        """Return the inputs of a layer's matrices, in the order in which they are reached."""
        ...


def family_of(architecture: Architecture) -> Family:
    """Return the family that an architecture was read by."""
    family: Family = resolve(FAMILIES, architecture.model_type, what="model type")
    return family


def window_reach(checkpoint: Checkpoint) -> int | None:
    """Return how far apart positions see each other where that is limited, None where nowhere."""
    architecture = checkpoint.architecture
    if architecture is None:
        return None
    reaches = family_of(architecture).reach(architecture).values()
    return next((reach for reach in reaches if reach is not None), None)


def layer_name(index: int, name: str) -> str:
    """Return the full name of what is named within a layer."""
    return f"layers.{index}.{name}"


def name_in_layer(name: str) -> tuple[int, str]:
    """Return the layer of a full name, and the name within it: the opposite of `layer_name`."""
    _, index, rest = name.split(".", 2)
    return int(index), rest
