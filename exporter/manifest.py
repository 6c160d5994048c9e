"""manifest.json: what an artifact or package is, what it was made from, and its hashes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from exporter import __version__
from exporter.checkpoint.adapters.record import AdapterRecord
from exporter.checkpoint.contents import Checkpoint, Finding, Prompts
from exporter.checkpoint.family import find_family
from exporter.errors import BadInput
from exporter.format import CUT, format_of
from exporter.hashing import sha256_file
from exporter.parsing import parse_json
from exporter.records import Record, write_json
from exporter.space import SPACE_NAME, Space, model_hash

SCHEMA_VERSION: Literal[3] = 3
MANIFEST_NAME = "manifest.json"
RECORDED_LIBRARIES = (
    "ai-edge-litert",
    "ai-edge-quantizer",
    "gguf",
    "litert-torch",
    "llama-cpp-python",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "optimum-onnx",
    "peft",
    "safetensors",
    "sentence-transformers",
    "sentencepiece",
    "tokenizers",
    "torch",
    "transformers",
)


def _inside(path: str) -> str:
    """Refuse a path that leads out of its folder, on any system: manifests come from others."""
    parts = path.split("/")
    if (
        not path.isprintable()
        or "\\" in path
        or PureWindowsPath(path).drive
        or not all(part.strip(" .") for part in parts)
    ):
        raise ValueError(f"{path!r} is no relative path inside the folder")
    return path


def _one_name(name: str) -> str:
    """Refuse a name that is no single, visible part of a path."""
    if "/" in name or name.startswith("."):
        raise ValueError(f"{name!r} is no name of a file or folder")
    return _inside(name)


InsidePath = Annotated[str, AfterValidator(_inside)]
Name = Annotated[str, AfterValidator(_one_name)]


class FileRecord(Record):
    """One file of an artifact or package. `path` is relative, with forward slashes."""

    path: InsidePath
    size_bytes: int
    sha256: str


class TensorRecord(Record):
    """One stored tensor: its type, its realised bits per weight (scales included), and why."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bits_per_weight: float
    reason: str = ""


class WindowDecision(Record):
    """The sliding window as config.json has it, and as this artifact was built.

    Both are the raw number of config.json: positions i and j see each other in a sliding
    layer when |i - j| <= raw // 2.
    """

    choice: Literal["as-saved", "repaired"]
    saved: int | None
    used: int | None


class RangeRecord(Record):
    """How one layer lies in fp16 on the calibration texts, its scales folded.

    `headroom`: by how much the largest intermediate (at `largest_site`) could grow before fp16
    overflows; `row_headroom`: by how much the longest row, before a runtime that squares in fp16
    does. `underflow`: share of the nonzero intermediates below the least normal fp16, which lose
    digits. `scales`: exponents of two by which matrices are multiplied.
    """

    layer: int
    largest: float
    largest_site: str
    headroom: float
    longest_row: float
    row_headroom: float
    underflow: float
    scales: dict[str, int]


class Fp16Record(Record):
    """What keeps an artifact that computes in fp16 inside its range.

    `residual_exponent`: the power of two on embeddings and post-norm gains; every norm has its own
    eps to match. `smallest_epsilon`: the least of those.
    """

    residual_exponent: int
    smallest_epsilon: float
    layers: tuple[RangeRecord, ...]


class VocabularyRecord(Record):
    """A vocabulary that was cut: `pieces` of the checkpoint's `of`; `sha256` of vocabulary.json,
    which lies in the artifact too."""

    pieces: int = Field(ge=1)
    of: int = Field(ge=1)
    sha256: str


class Manifest(Record):
    """Everything that is known about an artifact. Holds no timestamp: same input, same bytes."""

    schema_version: Literal[3] = SCHEMA_VERSION
    format: Name
    scheme: Name
    name: Name
    model_name: Name
    entry: InsidePath
    tool_version: str = __version__
    libraries: dict[str, str] = {}
    checkpoint_files: tuple[FileRecord, ...]
    adapter: AdapterRecord | None = None
    """What was merged onto what; None for a whole checkpoint."""
    module_chain: tuple[str, ...]
    pooling: str = "mean"
    """How token states become a vector, as sentence-transformers names it."""
    findings: tuple[Finding, ...]
    window: WindowDecision
    stripping: str
    prompts: Prompts
    dim: int = Field(ge=1)
    matryoshka_dims: tuple[int, ...]
    max_tokens: int = Field(ge=1)
    options: dict[str, str] = {}
    vocabulary: VocabularyRecord | None = None
    """None: all pieces of the checkpoint."""
    calibration_sha256: str | None = None
    fp16: Fp16Record | None = None
    kept: tuple[str, ...] = ()
    unproven: bool = False
    """Whether its scheme was measured on no real weights of its model family."""
    tensors: tuple[TensorRecord, ...]
    files: tuple[FileRecord, ...]

    @model_validator(mode="after")
    def _the_model_is_among_the_files(self) -> "Manifest":
        if self.entry not in {record.path for record in self.files}:
            raise ValueError(f"entry '{self.entry}' is not among the files")
        return self

    @property
    def size_bytes(self) -> int:
        """Bytes of the model itself: the files that a runtime loads as weights and graph."""
        counted = format_of(self.format).model_files(self.entry)
        # model.onnx has model.onnx_data beside it.
        return sum(
            f.size_bytes for f in self.files if f.path.startswith(self.entry) or f.path in counted
        )


STRIPPING = (
    "texts are encoded as given; sentence-transformers 5.x strips white space at both ends "
    "(U+3000 and newlines too), 6.x and the serving runtimes do not"
)


def describe_files(folder: Path) -> tuple[FileRecord, ...]:
    """Hash every file below `folder` but the manifest, in the order of their paths."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST_NAME)
    return tuple(_describe(path, folder) for path in paths)


def _describe(path: Path, folder: Path) -> FileRecord:
    return FileRecord(
        path=path.relative_to(folder).as_posix(),
        size_bytes=path.stat().st_size,
        sha256=sha256_file(path),
    )


def library_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Return the installed version of each named distribution that is installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True)
class Built:
    """What an export made, besides what its checkpoint says.

    `libraries`: distributions that decided its bytes. `dim`: the width of its vectors, the
    checkpoint's for None. `variant` tells artifacts of one scheme apart in their names. `kept`
    says, one line each, what stayed in higher precision or was repaired, and why.
    """

    format: str
    scheme: str
    entry: str
    tensors: tuple[TensorRecord, ...]
    libraries: tuple[str, ...]
    dim: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    variant: str = ""
    kept: tuple[str, ...] = ()
    calibration_sha256: str | None = None
    fp16: Fp16Record | None = None


def write_manifest(folder: Path, checkpoint: Checkpoint, built: Built) -> Manifest:
    """Describe a finished artifact folder: write its space.json, then its manifest.json, and return
    that record."""
    dim = built.dim or checkpoint.dim
    name = [built.format, built.scheme, *([built.variant] if built.variant else [])]
    if dim != checkpoint.dim:
        name.append(f"dim{dim}")
    if checkpoint.vocabulary is not None:
        name.append(CUT)
    manifest = Manifest(
        format=built.format,
        scheme=built.scheme,
        name="-".join(name),
        model_name=checkpoint.name,
        entry=built.entry,
        libraries=library_versions(built.libraries),
        checkpoint_files=tuple(
            FileRecord(path=path, size_bytes=size, sha256=digest)
            for path, size, digest in checkpoint.file_hashes()
        ),
        adapter=checkpoint.adapter.record if checkpoint.adapter else None,
        module_chain=tuple(module.kind for module in checkpoint.modules),
        pooling=checkpoint.pooling,
        findings=checkpoint.findings,
        window=WindowDecision(
            choice=checkpoint.window_choice,
            saved=checkpoint.window_saved,
            used=checkpoint.window_used,
        ),
        stripping=STRIPPING,
        prompts=checkpoint.prompts,
        dim=dim,
        matryoshka_dims=tuple(d for d in checkpoint.matryoshka_dims if d <= dim),
        max_tokens=checkpoint.max_tokens,
        options=dict(built.options),
        vocabulary=_vocabulary(checkpoint),
        calibration_sha256=built.calibration_sha256,
        fp16=built.fp16,
        kept=built.kept,
        unproven=_unproven(checkpoint, built),
        tensors=built.tensors,
        files=describe_files(folder),
    )
    write_json(folder / SPACE_NAME, space_of(manifest))
    files = (*manifest.files, _describe(folder / SPACE_NAME, folder))
    manifest = manifest.model_copy(update={"files": tuple(sorted(files, key=lambda f: f.path))})
    write_json(folder / MANIFEST_NAME, manifest)
    return manifest


def _unproven(checkpoint: Checkpoint, built: Built) -> bool:
    family = None if checkpoint.architecture is None else find_family(checkpoint.model_type)
    exact = format_of(built.format).schemes.get(built.scheme) == "fp32"
    return family is not None and not family.real_weights and not exact


def _vocabulary(checkpoint: Checkpoint) -> VocabularyRecord | None:
    if checkpoint.vocabulary is None or checkpoint.architecture is None:
        return None
    return VocabularyRecord(
        pieces=len(checkpoint.vocabulary.kept),
        of=checkpoint.architecture.vocab_size,
        sha256=checkpoint.vocabulary.sha256,
    )


def checkpoint_difference(
    ours: Mapping[str, str], theirs: Mapping[str, str], *, besides: Collection[str] = ()
) -> str | None:
    """Return the first file by which two checkpoints differ, None where they are the same.

    ours, theirs: path -> SHA-256, as in manifests and reports; `besides`: paths that do not count.
    """
    paths = sorted((ours.keys() | theirs.keys()) - set(besides))
    return next((p for p in paths if ours.get(p) != theirs.get(p)), None)


def read_manifest(folder: Path) -> Manifest:
    """Read and validate `folder`/manifest.json. Raises BadInput naming the folder and the key."""
    path = folder / MANIFEST_NAME
    if not folder.is_dir():
        raise BadInput(f"no such artifact folder: '{folder}'; make one with 'lawvault export'")
    if not path.is_file():
        raise BadInput(f"'{folder}' has no manifest.json; it was not made by 'lawvault export'")
    data: Any = parse_json(path.read_bytes(), f"'{path}'", remedy="export the artifact again")
    if isinstance(data, dict) and data.get("schema_version") != SCHEMA_VERSION:
        raise BadInput(
            f"'{path}' has schema version {data.get('schema_version')!r}, this tool reads "
            f"{SCHEMA_VERSION}; export the artifact again"
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        said = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"'{path}': {where}: {said}; export the artifact again") from None


def space_of(manifest: Manifest) -> Space:
    """Return the space that an artifact's vectors lie in, without probes."""
    files = {record.path: record.sha256 for record in manifest.checkpoint_files}
    return Space(
        model_name=manifest.model_name,
        model_sha256=model_hash(files),
        model_files=files,
        pipeline=manifest.module_chain,
        prompts=manifest.prompts,
        sliding_window=manifest.window.used,
        max_tokens=manifest.max_tokens,
        dim=manifest.dim,
        dims=manifest.matryoshka_dims,
        artifact=manifest.name,
    )


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise BadInput for the first file that is missing or differs from the manifest."""
    for record in manifest.files:
        path = folder / record.path
        if not path.is_file():
            raise BadInput(f"'{path}' is missing; export the artifact again")
        if path.stat().st_size != record.size_bytes or sha256_file(path) != record.sha256:
            raise BadInput(
                f"'{path}' differs from its manifest (it was changed after it was made); "
                "export the artifact again"
            )
