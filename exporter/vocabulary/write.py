"""The tokenizer files of a vocabulary: the checkpoint's, with fewer pieces."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from exporter.checkpoint.json_file import read_object
from exporter.records import write_json
from exporter.vocabulary.bpe import Bpe

MODEL_NAME = "tokenizer.model"
SPECIAL_IDS = ("unk_id", "bos_id", "eos_id", "pad_id")
NONE = -1  # SentencePiece's id of a special piece that there is not


def write_tokenizer(folder: Path, bpe: Bpe, to: Mapping[int, int], *, source: Path) -> None:
    """Write tokenizer.json, tokenizer.model and the configs to `folder`. `to`: old id -> new id.

    Ids keep their order. Added tokens whose row is gone, and merges that make a piece that is gone
    or start from one, are left out.
    """
    data = {**bpe.data, "model": {**bpe.data["model"]}}
    pieces = {piece: to[i] for piece, i in bpe.ids.items() if i in to}
    data["model"]["vocab"] = dict(sorted(pieces.items(), key=lambda entry: entry[1]))
    data["model"]["merges"] = [
        [left, right]
        for left, right in bpe.ranks
        if left in pieces and right in pieces and left + right in pieces
    ]
    data["added_tokens"] = [
        {**token, "id": to[token["id"]]}
        for token in bpe.data.get("added_tokens") or ()
        if token["id"] in to
    ]
    if bpe.data.get("post_processor"):
        data["post_processor"] = _renumbered(bpe.data["post_processor"], to)
    path = folder / "tokenizer.json"
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", newline="")
    if (source / MODEL_NAME).is_file():
        _write_model(folder / MODEL_NAME, source / MODEL_NAME, to)
    if (source / "tokenizer_config.json").is_file():
        config = read_object(source / "tokenizer_config.json")
        decoder = config.get("added_tokens_decoder") or {}
        config["added_tokens_decoder"] = {
            str(to[int(i)]): token for i, token in decoder.items() if int(i) in to
        }
        write_json(folder / "tokenizer_config.json", config)
    if (source / "added_tokens.json").is_file():
        tokens = read_object(source / "added_tokens.json")
        kept = {token: to[i] for token, i in tokens.items() if i in to}
        if kept:
            write_json(folder / "added_tokens.json", kept)
    if (source / "special_tokens_map.json").is_file():
        shutil.copyfile(source / "special_tokens_map.json", folder / "special_tokens_map.json")


def _renumbered(processor: Mapping[str, Any], to: Mapping[int, int]) -> dict[str, Any]:
    """Return a post-processor with new ids, those within a sequence of processors too."""
    made = dict(processor)
    if "processors" in made:
        made["processors"] = [_renumbered(part, to) for part in made["processors"]]
    if "special_tokens" in made:
        made["special_tokens"] = {
            name: {**token, "ids": [to[i] for i in token["ids"]]}
            for name, token in made["special_tokens"].items()
        }
    for end in ("sep", "cls"):  # of Bert's and Roberta's processors: [token, id]
        if isinstance(made.get(end), list):
            made[end] = [made[end][0], to[made[end][1]]]
    return made


def _write_model(path: Path, source: Path, to: Mapping[int, int]) -> None:
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(source.read_bytes())
    kept = [piece for i, piece in enumerate(model.pieces) if i in to]
    del model.pieces[:]
    model.pieces.extend(kept)
    spec = model.trainer_spec
    spec.vocab_size = len(kept)
    for name in SPECIAL_IDS:
        setattr(spec, name, to.get(getattr(spec, name), NONE))
    path.write_bytes(model.SerializeToString(deterministic=True))
