"""What a checkpoint is, once read: records only, no reading and no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import field_validator

from exporter.checkpoint.adapters.record import Adapter
from exporter.checkpoint.safetensors_file import TensorInfo, read_tensor
from exporter.hashing import sha256_file
from exporter.records import Record

BESIDE_TEXT = re.compile(r"\{title\}\s*\{text\}")
Severity = Literal["info", "warning", "error"]
WindowChoice = Literal["as-saved", "repaired"]


class Finding(Record):
    """One thing a user of this checkpoint should know.

    `evidence` is what was seen in the files, `effect` what it does to vectors, `remedy` what
    to do about it.
    """

    id: str
    severity: Severity
    evidence: str
    effect: str
    remedy: str


class Prompts(Record):
    """How a query and a document become the text that is encoded.

    A template names `{text}` once (and, for documents, may name `{title}`); a string without
    `{text}` is a prefix.
    """

    query: str
    document: str

    @field_validator("query", "document")
    @classmethod
    def _names_the_text_once(cls, template: str) -> str:
        if template.count("{text}") > 1:
            raise ValueError("names {text} more than once")
        return template

    @property
    def described(self) -> str:
        """Return both, as a message names them."""
        return f"query {self.query!r}, document {self.document!r}"

    def render_query(self, text: str) -> str:
        """Return the text to encode for a query."""
        return _render(self.query, title="", text=text)

    def render_document(self, text: str, *, title: str) -> str:
        """Return the text to encode for a document.

        Without a title, `{title}` and the white space behind it are left out where the text
        follows at once; elsewhere it becomes `none`, as EmbeddingGemma was trained.
        """
        template = self.document if title else BESIDE_TEXT.sub("{text}", self.document)
        return _render(template, title=title or "none", text=text)


def _render(template: str, *, title: str, text: str) -> str:
    if "{text}" not in template:
        return template + text
    # Not str.format: braces in a text or prompt are text.
    head, _, tail = template.partition("{text}")
    return head.replace("{title}", title) + text + tail.replace("{title}", title)


class ModuleInfo(Record):
    """One entry of modules.json. `kind`: Transformer, Pooling, Dense or Normalize."""

    kind: str
    path: str
    class_name: str


class DenseInfo(Record):
    """A Dense module: `weight` is (out_features, in_features), without bias, identity activation.

    `path` is its folder, "" for a projection inside the backbone, `tensor` the name under which
    `Checkpoint.tensor` returns the weight.
    """

    path: str
    tensor: str
    in_features: int
    out_features: int


class Architecture(Record):
    """The numbers that every model family has; each adds its own (`exporter.architectures`)."""

    model_type: str
    """As in config.json. It names the family in `exporter.registry.FAMILIES`."""
    vocab_size: int
    hidden_size: int
    num_layers: int
    max_positions: int
    layer_types: tuple[str, ...]
    """Of each layer: which mask and which rotary positions it takes."""
    sliding_window: int = 0
    """Raw, after the window decision: positions see each other when |i - j| <= raw // 2."""


@dataclass(frozen=True)
class Vocabulary:
    """The pieces of a checkpoint's tokenizer that an artifact keeps, as `lawvault vocabulary` wrote
    them to `folder`, tokenizer files included.

    `kept`: ascending; what is id i in the artifact is id kept[i] in the checkpoint.
    """

    folder: Path
    kept: npt.NDArray[np.int64] = field(compare=False)
    sha256: str
    """Of its map, vocabulary.json."""


@dataclass(frozen=True)
class Checkpoint:
    """A sentence-transformers checkpoint, read and checked; tensors stay on disk until asked for.

    `architecture` is None for a model that only the traced graph can serve. `tensors` holds the
    backbone under its safetensors names (`embed_tokens.weight`, `layers.0....`, `norm.weight`)
    and each Dense under its `DenseInfo.tensor`.
    """

    path: Path
    name: str
    model_type: str
    architecture: Architecture | None
    modules: tuple[ModuleInfo, ...]
    dense: tuple[DenseInfo, ...]
    pooling: str
    normalize: bool
    prompts: Prompts
    own_prompts: Prompts
    """What sentence-transformers encodes with the checkpoint's saved prompts."""
    saved_prompts: Mapping[str, str]
    dim: int
    matryoshka_dims: tuple[int, ...]
    max_tokens: int
    window_choice: WindowChoice
    window_saved: int | None
    window_used: int | None
    findings: tuple[Finding, ...]
    tensors: Mapping[str, TensorInfo]
    files: tuple[Path, ...] = field(default=())
    """Relative paths of every file that decides a vector or an artifact, sorted."""
    adapter: Adapter | None = None
    """What is merged into the base's `tensors` when they are read; `path` then holds the modules
    and the tokenizer, beside the adapter or with the base."""
    vocabulary: Vocabulary | None = None
    """What artifacts keep of its pieces; None for all. The original itself always has all."""

    def tensor(self, name: str) -> npt.NDArray[np.float32]:
        """Return one tensor as float32, read from disk. Exact for BF16, F16 and F32."""
        return read_tensor(self.tensors[name])

    @property
    def not_built(self) -> str:
        """Return why no graph of it can be built, "" where one can."""
        found = (f.evidence for f in self.findings if f.id == "architecture-not-built")
        return next(found, "")

    @cached_property
    def _hashes(self) -> tuple[tuple[str, int, str], ...]:
        files = {f.as_posix(): self.path / f for f in self.files}
        if self.adapter is not None:
            files |= self.adapter.files
        return tuple((n, f.stat().st_size, sha256_file(f)) for n, f in files.items())

    def file_hashes(self) -> tuple[tuple[str, int, str], ...]:
        """Return (path, size in bytes, sha256) of each file of `files`, and of those of an adapter
        and its base that lie elsewhere; computed once."""
        return self._hashes

    @property
    def source(self) -> Path:
        """Return the folder to read it from again: the adapter's, where it is one."""
        return self.path if self.adapter is None else self.adapter.folder

    @property
    def base(self) -> str | None:
        """Return the base to read it with again, None where it is no adapter."""
        return None if self.adapter is None else str(self.adapter.base)

    @property
    def tokenizer_folder(self) -> Path:
        """Return where the tokenizer files of its artifacts lie."""
        return self.path if self.vocabulary is None else self.vocabulary.folder

    @property
    def vocabulary_size(self) -> int:
        """Return the number of rows of an artifact's embedding table."""
        assert self.architecture is not None
        return (
            self.architecture.vocab_size if self.vocabulary is None else len(self.vocabulary.kept)
        )

    @property
    def stored_parameters(self) -> int:
        """Number of weights of an artifact: without the rows that its vocabulary leaves out."""
        if self.vocabulary is None or self.architecture is None:
            return self.parameters
        gone = self.architecture.vocab_size - self.vocabulary_size
        return self.parameters - gone * self.architecture.hidden_size

    @property
    def parameters(self) -> int:
        """Number of weights, Dense modules included; one that has several names counts once."""
        placed = {(t.file, t.offset): t.shape for t in self.tensors.values()}
        return sum(int(np.prod(shape)) for shape in placed.values())
