"""The space that vectors lie in: what decides them, and a few texts with theirs.

space.json is this record. Two vectors may be compared where their spaces agree; a guard in an
application tells from the probes whether its own embed function still gives vectors of this one.
"""

import hashlib
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from exporter.checkpoint.contents import Prompts
from exporter.records import Record

SPACE_NAME = "space.json"


class OtherPrompt(Record):
    """What a probe gives under another prompt: the template, as `query: {text}`, and the first
    components of its vector, as many as `Probes.width`, of unit length."""

    prompt: str
    vector: tuple[float, ...]


class Probe(Record):
    """A text as an application gives it to its embed function, without a prompt, and its vector.

    `title` is empty for questions. `vector`: `Space.dim` components of unit length, made by the
    artifact with its prompt. `tolerance`: how far, as 1 - cosine, a right copy may be from it.
    """

    text: str
    title: str = ""
    vector: tuple[float, ...]
    tolerance: float = Field(gt=0, le=2)
    others: tuple[OtherPrompt, ...] = ()


class Cut(Record):
    """The vector of a long probe cut at so many tokens, as `OtherPrompt.vector` is."""

    tokens: int = Field(ge=1)
    vector: tuple[float, ...]


class LongProbe(Probe):
    """A long text, and what it gives where a server cuts it."""

    tokens: int
    cuts: tuple[Cut, ...]


class Probes(Record):
    """Short texts of each role, and a long one of each. `width`: components of `others` and `cuts`.

    `tolerance_from`: `measured`, from the artifact's own error against torch fp32; `limits`, from
    what the default recipe lets pass, where nobody has measured it.
    """

    width: int = Field(ge=1)
    tolerance_from: Literal["measured", "limits"]
    query: tuple[Probe, ...] = Field(min_length=1)
    document: tuple[Probe, ...] = Field(min_length=1)
    long_query: LongProbe | None = None
    long_document: LongProbe | None = None


class Space(Record):
    """What decides a vector. Two of equal `model_sha256`, prompts, window and limit are one space,
    up to the rounding of their artifacts.

    `model_sha256`: over the paths and hashes of `model_files`, those of the checkpoint. `dims`: the
    widths to which vectors may be cut. `probes`: None in an artifact, which nothing has run yet.
    """

    schema_version: Literal[1] = 1
    model_name: str
    model_sha256: str
    model_files: dict[str, str]
    pipeline: tuple[str, ...]
    prompts: Prompts
    sliding_window: int | None
    max_tokens: int = Field(ge=1)
    dim: int = Field(ge=1)
    dims: tuple[int, ...]
    normalized: Literal[True] = True
    artifact: str
    probes: Probes | None = None

    def without_probes(self) -> "Space":
        """Return what decides the vectors, without examples of them."""
        return self.model_copy(update={"probes": None})


def model_hash(files: Mapping[str, str]) -> str:
    """Return one hash for a checkpoint's files, path -> SHA-256."""
    lines = (f"{digest}  {path}\n" for path, digest in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
