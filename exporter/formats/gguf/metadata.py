"""The keys of a GGUF, in the order of llama.cpp's converter."""

from pathlib import Path
from typing import Any

import gguf
import yaml  # type: ignore[import-untyped]

from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput
from exporter.formats.gguf.tensors import gguf_family, tokenizer_of
from exporter.formats.gguf.types import GgufType

POOLINGS = {
    "mean": gguf.PoolingType.MEAN,
    "cls": gguf.PoolingType.CLS,
    "lasttoken": gguf.PoolingType.LAST,
}
WHOLE_KEY = "lawvault.vocabulary.of"
"""Of a file whose vocabulary was cut: how many pieces the checkpoint has."""


def _read_metadata(folder: Path, parameters: int) -> Any:
    """Return what gguf finds in the folder's name, model card and generation_config.json."""
    try:
        metadata = gguf.Metadata.load(None, folder, None, parameters)
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError, ValueError) as error:
        raise BadInput(
            f"the front matter of '{folder / 'README.md'}' cannot be read "
            f"({' '.join(str(error).split())}); mend or remove it"
        ) from None
    if metadata.name is None:
        metadata.name = folder.name
    return metadata


def add_metadata(writer: Any, checkpoint: Checkpoint, gguf_type: GgufType) -> None:
    """Add all keys in upstream's order."""
    a = checkpoint.architecture
    assert a is not None
    total, shared, expert, expert_count = writer.get_total_parameter_count()
    metadata = _read_metadata(checkpoint.path, total)
    if metadata.size_label is None and total > 0:
        metadata.size_label = gguf.size_label(total, shared, expert, expert_count)
    writer.add_type(gguf.GGUFType.MODEL)
    metadata.set_gguf_meta_model(writer)
    family = gguf_family(checkpoint)
    for name, value in family.keys(a, file_type=gguf_type.file_type):
        getattr(writer, f"add_{name}")(value)
    for i, dense in enumerate(checkpoint.dense, start=2):
        writer.add_dense_features_dims(f"dense_{i}", dense.in_features, dense.out_features)
    writer.add_pooling_type(POOLINGS[checkpoint.pooling])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, value in family.tokenizer_keys(a):
        getattr(writer, f"add_{name}")(value)
    tokenizer_of(checkpoint).add(writer, checkpoint)


def add_vocabulary_key(writer: Any, checkpoint: Checkpoint) -> None:
    """Add how many pieces there were before the vocabulary was cut, if it was."""
    if checkpoint.vocabulary is not None and checkpoint.architecture is not None:
        writer.add_uint32(WHOLE_KEY, checkpoint.architecture.vocab_size)


def add_calibration_keys(writer: Any, *, entries: int) -> None:
    """Add what llama-quantize writes of an importance matrix (tools/quantize/quantize.cpp)."""
    writer.add_string("quantize.imatrix.file", "imatrix.gguf")
    writer.add_string("quantize.imatrix.dataset", "calibration texts")
    writer.add_uint32("quantize.imatrix.entries_count", entries)


def add_prompt_keys(writer: Any, checkpoint: Checkpoint) -> None:
    """Add prompts and dims under this project's own names; llama.cpp and Ollama skip them."""
    writer.add_string("lawvault.prompt.query", checkpoint.prompts.query)
    writer.add_string("lawvault.prompt.document", checkpoint.prompts.document)
    writer.add_array("lawvault.matryoshka_dims", [int(d) for d in checkpoint.matryoshka_dims])
