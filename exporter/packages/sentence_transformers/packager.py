"""A folder that SentenceTransformer loads in place of the original, with its ONNX backend.

The same layout serves fastembed's custom models, and text-embeddings-inference, which reads
onnx/model.onnx, pools its last_hidden_state by the mask and normalizes:
https://github.com/huggingface/text-embeddings-inference/blob/265deb2ad692067eeda77a746b3975b46ba53920/backends/ort/src/lib.rs
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.checkpoint.contents import Prompts
from exporter.checkpoint.family import find_family
from exporter.checkpoint.json_file import read_object
from exporter.checkpoint.tokenizer import TOKENIZER_FILES
from exporter.checkpoint.weights import DENSE_INSIDE
from exporter.errors import BadInput
from exporter.manifest import Manifest
from exporter.packages.assemble import Filling, Packager, Settings
from exporter.packages.onnx_file import write_graph
from exporter.packages.pooling import POOLINGS, padded_rightly, pooling_names
from exporter.records import write_json
from exporter.staging import copy_present

NEWEST = (4, 57)
"""The transformers that optimum-onnx 0.1.0 takes at most; ours lies in the extra `traced`."""
SCHEMES = ("fp32", "fp16", "int8", "q4", "q4f16", "mixed")
QUESTION, EXAMPLE_TITLE = "房东不退押金怎么办", "住房租赁条例"
EXAMPLE_TEXT = "第十条 出租人收取押金的，应当在合同中约定返还的时间。"
MODULES = (
    ("", "sentence_transformers.models.Transformer"),
    ("1_Pooling", "sentence_transformers.models.Pooling"),
    ("2_Normalize", "sentence_transformers.models.Normalize"),
)


def fill_sentence_transformers(filling: Filling) -> Sequence[str]:
    """Write the graphs and a module list that projects once: the graph's token states are
    projected already, so that Pooling and Normalize are all that is left to do."""
    stage, artifacts = filling.stage, filling.artifacts
    first = artifacts[0]
    manifest = first.manifest
    files = file_names([judged.manifest for judged in artifacts])
    for judged, file in zip(artifacts, files, strict=True):
        write_graph(judged, stage / file)
    copy_present(TOKENIZER_FILES, first.folder, stage)
    tokenizer = stage / "tokenizer_config.json"
    if manifest.pooling == "lasttoken" and tokenizer.is_file():
        write_json(tokenizer, padded_rightly(read_object(tokenizer), manifest))
    config = read_object(first.folder / "config.json")
    # Says to this tool, and to whoever opens it, why there are no weights beside it.
    write_json(stage / "config.json", {**config, DENSE_INSIDE: True})
    for place, _ in MODULES[1:]:
        (stage / place).mkdir()
    names = pooling_names(manifest)
    mode = POOLINGS["mean"].sentence_transformers  # its default, unless it is told otherwise
    pooling = {mode: False, names.sentence_transformers: True}
    write_json(
        stage / "1_Pooling" / "config.json", {"word_embedding_dimension": manifest.dim, **pooling}
    )
    # An empty folder does not survive git or a zip.
    write_json(stage / "2_Normalize" / "config.json", {})
    modules = [
        {"idx": i, "name": str(i), "path": place, "type": kind}
        for i, (place, kind) in enumerate(MODULES)
    ]
    write_json(stage / "modules.json", modules)
    write_json(
        stage / "sentence_bert_config.json",
        {"max_seq_length": manifest.max_tokens, "do_lower_case": False},
    )
    prompts = prefixes(manifest.prompts)
    write_json(
        stage / "config_sentence_transformers.json",
        {
            "model_type": "SentenceTransformer",
            "prompts": prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    filling.write(
        "readme.md.j2",
        "README.md",
        first=manifest,
        pooling=names,
        prompts=prompts,
        **example_code(manifest.prompts),
        rows=list(zip(files, artifacts, strict=True)),
        override=next((j.verdict for j in artifacts if j.verdict.verdict != "pass"), None),
    )
    return files


def file_names(manifests: Sequence[Manifest]) -> list[str]:
    """Return the graphs' paths: float32, or one that is alone, is `onnx/model.onnx`, where every
    consumer looks first."""
    return [
        "onnx/model.onnx"
        if len(manifests) == 1 or manifest.scheme == "fp32"
        else f"onnx/model_{manifest.scheme}.onnx"
        for manifest in manifests
    ]


def example_code(prompts: Prompts) -> Mapping[str, str]:
    """Return how a question and a document are encoded with the proven prompts: by the saved ones
    where they say the same, else written out."""

    def written(text: str) -> str:
        return f'model.encode([{json.dumps(text, ensure_ascii=False)}], prompt="")'

    saved = prefixes(prompts)
    question = written(prompts.render_query(QUESTION))
    document = written(prompts.render_document(EXAMPLE_TEXT, title=EXAMPLE_TITLE))
    if "query" in saved:
        question = f'model.encode_query(["{QUESTION}"])'
    if "document" in saved and "{title}" not in prompts.document:
        document = f'model.encode_document(["{EXAMPLE_TEXT}"])'
    return {"question_code": question, "document_code": document}


def prefixes(prompts: Prompts) -> Mapping[str, str]:
    """Return the prompts as sentence-transformers knows them: what stands before a text. One that
    goes on behind the text is no such prompt and is left out."""
    rendered = {
        "query": prompts.render_query("\0"),
        "document": prompts.render_document("\0", title=""),
    }
    return {name: text[:-1] for name, text in rendered.items() if text.endswith("\0")}


def check_sentence_transformers(
    folders: Sequence[Path], manifests: Sequence[Manifest], settings: Settings
) -> None:
    """Refuse graphs that an older onnxruntime, as fastembed allows, does not read, and models that
    the transformers of the ONNX backend does not know."""
    del settings
    for folder, manifest in zip(folders, manifests, strict=True):
        if manifest.options.get("flavour") == "cpu23":
            raise BadInput(
                f"'{folder}' ({manifest.name}) is of the flavour cpu23, whose opset is newer than "
                f"many an onnxruntime; export it again: lawvault export onnx --quant "
                f"{manifest.scheme}"
            )
        kind = read_object(folder / "config.json").get("model_type")
        family = find_family(kind)
        if family is not None and family.oldest_transformers > NEWEST:
            raise BadInput(
                f"'{folder}' ({manifest.name}) is of type '{kind}', and sentence-transformers' "
                "ONNX backend needs optimum-onnx, which holds transformers below the first that "
                "knows it; package it for onnxruntime"
            )


PACKAGER = Packager(
    name="sentence-transformers",
    room=__package__,
    verify="exporter.packages.sentence_transformers.verifier:verify_files",
    format="onnx",
    fill=fill_sentence_transformers,
    several=True,
    schemes=SCHEMES,
    check=check_sentence_transformers,
    hint="the ONNX backend takes ONNX: lawvault export onnx",
)
