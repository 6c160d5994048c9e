"""The model in a GGUF: what is missing, pooled otherwise, narrowed, or rounded too far."""

from collections import Counter
from collections.abc import Iterable

import gguf

from exporter.architectures.family import GgufFamily
from exporter.checkpoint.contents import Finding, Severity
from exporter.checkpoint.window import repaired_window
from exporter.formats.gguf.read import GgufHeader, GgufTensor
from exporter.formats.gguf.tensors import known_families
from exporter.formats.gguf.types import bits_per_weight

Q = gguf.GGMLQuantizationType
EMBEDDING_ARCHITECTURES = frozenset(
    {
        "bert",
        "modern-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "neo-bert",
        "jina-bert-v2",
        "jina-bert-v3",
        "eurobert",
        "t5encoder",
    }
)
POOLING = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
HEAD_BITS, TABLE_BITS = 8.0, 6.0
CONVERT = (
    "convert again with lawvault export gguf, or llama.cpp's converter and "
    "--sentence-transformers-dense-modules"
)


def lint_model(header: GgufHeader) -> Iterable[Finding]:
    """Look at architecture, pooling, Dense, window, layers and types."""
    name = header.keys.get("general.architecture")
    if not isinstance(name, str):
        yield _finding(
            "no-architecture",
            "error",
            "the file has no general.architecture",
            "llama.cpp does not load it",
            "convert the model again",
        )
        return
    family = next((f for f in known_families() if f.architecture == name), None)
    yield from _pooling(header, name, family)
    if family is not None:
        if family.dense:
            yield from _dense(header, name)
        yield from _layers(header, family)
        yield from _context(header, name)
        if family.sliding:
            yield from _window(header, name)
    elif name not in EMBEDDING_ARCHITECTURES:
        yield _finding(
            "architecture",
            "info",
            f"architecture '{name}' is not one of embedding models alone",
            "only what is common to all files was looked at",
            "compare its vectors by parity",
        )
    yield from _types(header)


def _pooling(header: GgufHeader, name: str, family: GgufFamily | None) -> Iterable[Finding]:
    value = header.keys.get(f"{name}.pooling_type")
    if value is None:
        yield _finding(
            "no-pooling",
            "error",
            f"the file has no {name}.pooling_type",
            "llama.cpp returns a vector for each token or needs --pooling, and Ollama does not "
            "offer the model for embedding",
            CONVERT,
        )
    elif value not in POOLING or value == 0:
        yield _finding(
            "pooling",
            "error",
            f"pooling_type is {value} ({POOLING.get(value, '?')})",
            "llama.cpp returns no vector for a text",
            CONVERT,
        )
    elif family is not None and POOLING[value] not in family.usual_poolings:
        usual = " or ".join(f"{n} ({p})" for n, p in POOLING.items() if p in family.usual_poolings)
        fits = POOLING[value] in family.poolings
        yield _finding(
            "pooling",
            "warning" if fits else "error",
            f"pooling_type is {value} ({POOLING[value]}), this "
            f"architecture is trained with {usual}",
            "unless this model was trained so too, every vector is another one"
            if fits
            else "every vector is another one",
            CONVERT,
        )


def _dense(header: GgufHeader, name: str) -> Iterable[Finding]:
    tensors = {t.name: t for t in header.tensors}
    width = header.keys.get(f"{name}.embedding_length")
    found = [tensors.get(f"dense_{i}.weight") for i in (2, 3)]
    if None in found:
        pairs = zip(("dense_2", "dense_3"), found, strict=True)
        missing = " and ".join(name for name, tensor in pairs if tensor is None)
        yield _finding(
            "no-dense",
            "error",
            f"the file lacks {missing}",
            "the Dense modules are not applied: vectors lie in another space than the model's, and "
            "an index made with it finds other documents",
            CONVERT,
        )
        return
    first, last = (t for t in found if t is not None)
    if first.shape[1] != width or last.shape[0] != width or first.shape[0] != last.shape[1]:
        yield _finding(
            "dense-shape",
            "error",
            f"dense_2 {first.shape} and dense_3 {last.shape} do not lead "
            f"from {width} back to {width}",
            "llama.cpp aborts at the first text",
            "take both modules from one checkpoint",
        )
    for tensor in (first, last):
        bits = bits_per_weight(Q(tensor.ggml_type))
        if bits < HEAD_BITS:
            yield _finding(
                "coarse-dense",
                "warning",
                f"{tensor.name} is {Q(tensor.ggml_type).name} ({bits:g} bits a weight)",
                "the head's errors are the vector's: presets made for chat models round it as far "
                "as the rest",
                "keep dense at F16 (lawvault export gguf --plan embedding)",
            )


def _layers(header: GgufHeader, family: GgufFamily) -> Iterable[Finding]:
    names = {t.name for t in header.tensors}
    count = int(header.keys.get(f"{family.architecture}.block_count") or 0)
    wanted = [f"{name}.weight" for name in family.other_tensors]
    wanted += [
        f"blk.{i}.{part}.weight" for i in range(min(count, 1000)) for part in family.layer_tensors
    ]
    missing = [name for name in wanted if name not in names]
    if missing or not count:
        first = missing[0] if missing else "block_count"
        yield _finding(
            "missing-tensors",
            "error",
            f"{len(missing)} tensors are missing, first '{first}'",
            "llama.cpp does not load the file",
            CONVERT,
        )


def _context(header: GgufHeader, name: str) -> Iterable[Finding]:
    if not header.keys.get(f"{name}.context_length"):
        yield _finding(
            "no-context",
            "error",
            "the file has no context_length",
            "runtimes fall back to 512 tokens or refuse the file",
            CONVERT,
        )


def _window(header: GgufHeader, name: str) -> Iterable[Finding]:
    keys = header.keys
    window = keys.get(f"{name}.attention.sliding_window")
    if not window:
        yield _finding(
            "no-window",
            "error",
            "the file has no attention.sliding_window",
            "sliding layers see the whole text: long texts get other vectors",
            CONVERT,
        )
        return
    repaired = repaired_window(
        int(window),
        hidden=int(keys.get(f"{name}.embedding_length") or 0),
        layers=int(keys.get(f"{name}.block_count") or 0),
    )
    if repaired is not None:
        yield _finding(
            "window-halved",
            "warning",
            f"sliding_window is {window}, what transformers writes back for {repaired}",
            f"sliding layers see {int(window) // 2} tokens to each side "
            f"instead of {repaired // 2}: texts longer than {int(window) // 2 + 1} tokens differ "
            "from the model as trained",
            "export with --window repaired and judge by parity; an "
            "index made with the damaged value has to be made again",
        )


def _types(header: GgufHeader) -> Iterable[Finding]:
    matrices = [t for t in header.tensors if len(t.shape) > 1]
    counted = Counter(Q(t.ggml_type).name for t in matrices)
    listed = ", ".join(f"{n} {ggml_type}" for ggml_type, n in counted.most_common())
    yield _finding("types", "info", f"matrices: {listed}", "none by itself", "none needed")
    table = next((t for t in matrices if t.name == "token_embd.weight"), None)
    if table is not None and bits_per_weight(Q(table.ggml_type)) < TABLE_BITS:
        yield _finding(
            "coarse-table",
            "warning",
            f"token_embd is {Q(table.ggml_type).name}",
            "the words themselves are rounded to fewer than 6 bits, before any layer",
            "judge by parity, or keep the table at 8 bits",
        )
    yield from _file_type(header, [t for t in matrices if t.name.startswith("blk.")])


def _file_type(header: GgufHeader, matrices: list[GgufTensor]) -> Iterable[Finding]:
    said = header.keys.get("general.file_type")
    if not isinstance(said, int) or not matrices:
        return
    try:
        name = gguf.LlamaFileType(said).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except ValueError:
        name = f"unknown ({said})"
    most = Counter(Q(t.ggml_type).name for t in matrices).most_common(1)[0][0]
    if not name.startswith(most):
        yield _finding(
            "file-type",
            "warning",
            f"general.file_type says {name}, most matrices are {most}",
            "people choose files by this name",
            "convert again",
        )


def _finding(id: str, severity: Severity, evidence: str, effect: str, remedy: str) -> Finding:
    return Finding(id=id, severity=severity, evidence=evidence, effect=effect, remedy=remedy)
