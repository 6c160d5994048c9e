"""llama.cpp's vocabulary `gpt2`, whose pieces are merged from bytes, from tokenizer.json.

Rules of llama.cpp's converter (conversion/base.py, get_vocab_base): missing ids are unused, added
tokens are control where special, else user-defined.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import tokenizers

from exporter.architectures.family import family_of
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.json_file import read_object
from exporter.errors import BadInput
from exporter.formats.gguf.tokenizer import added_token

TYPE = gguf.TokenType
NEXT = "export ONNX instead: lawvault export onnx"
SPLITS: Mapping[str, str] = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "qwen2"
}
"""How a tokenizer splits texts before it merges -> llama.cpp's name for it, tokenizer.ggml.pre."""
NORMALIZERS = (None, "NFC")
"""llama.cpp normalises nothing. Composed texts are the same in both; `unicode_form` says that they
must be."""
PLAIN_MODEL: Mapping[str, tuple[Any, ...]] = {
    "dropout": (None,),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "fuse_unk": (False, None),
    "byte_fallback": (False, None),
    "ignore_merges": (False, None),
}


class ByteLevel:
    """See `exporter.formats.gguf.tokenizer.GgufTokenizer`."""

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise BadInput where llama.cpp would give other token ids than tokenizer.json."""
        path = checkpoint.tokenizer_folder / "tokenizer.json"
        data = read_object(path)
        _check_model(path, data)
        pre_tokenizer(path, data)
        _check_added(path, data)
        assert checkpoint.architecture is not None
        _check_ends(path, family_of(checkpoint.architecture).around)
        highest = max(i for _, i in _pieces(data))
        if highest >= checkpoint.vocabulary_size:
            raise BadInput(
                f"'{path}' has ids up to {highest:,}, the embedding table "
                f"{checkpoint.vocabulary_size:,} rows; llama.cpp does not load such a file. {NEXT}"
            )

    def add(self, writer: Any, checkpoint: Checkpoint) -> None:
        folder = checkpoint.tokenizer_folder
        data = read_object(folder / "tokenizer.json")
        pieces, types = read_pieces(data, size=checkpoint.vocabulary_size)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre_tokenizer(folder / "tokenizer.json", data))
        writer.add_token_list(pieces)
        writer.add_token_types(types)
        special = gguf.SpecialVocab(folder, load_merges=True)
        # tokenizer.json decides, as `check` saw; 0.19.0 on PyPI does not look at its ByteLevel.
        special.add_special_token = {"bos": False, "eos": False, **special.add_special_token}
        special.add_to_gguf(writer, quiet=True)

    def unicode_form(self, folder: Path) -> str:
        normalizer = read_object(folder / "tokenizer.json").get("normalizer")
        return "" if normalizer is None else str(normalizer["type"])


def read_pieces(data: Mapping[str, Any], *, size: int) -> tuple[list[str], list[int]]:
    """Return (pieces, types) in the order of token ids."""
    pieces = [f"[PAD{i}]" for i in range(size)]
    types = [int(TYPE.UNUSED)] * size
    for piece, i in data["model"]["vocab"].items():
        pieces[i], types[i] = piece, int(TYPE.NORMAL)
    for token in data.get("added_tokens") or []:
        pieces[token["id"]], types[token["id"]] = added_token(token)
    return pieces, types


def pre_tokenizer(path: Path, data: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of how texts are split. Raises BadInput where it has none."""
    found = data.get("pre_tokenizer") or {}
    parts = found.get("pretokenizers") if found.get("type") == "Sequence" else None
    if isinstance(parts, list) and [p.get("type") for p in parts] == ["Split", "ByteLevel"]:
        split, level = parts
        name = SPLITS.get(str((split.get("pattern") or {}).get("Regex")))
        isolated = split.get("behavior") == "Isolated" and not split.get("invert")
        if name and isolated and not level.get("add_prefix_space") and not level.get("use_regex"):
            return name
    raise BadInput(
        f"'{path}' splits texts in a way that llama.cpp has no name for here (known: "
        f"{', '.join(SPLITS.values())}); its pieces would differ. {NEXT}"
    )


def _pieces(data: Mapping[str, Any]) -> list[tuple[str, int]]:
    added = [(t["content"], int(t["id"])) for t in data.get("added_tokens") or []]
    return [*data["model"]["vocab"].items(), *added]


def _check_model(path: Path, data: Mapping[str, Any]) -> None:
    model = data.get("model") or {}
    if model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise BadInput(
            f"'{path}' is a {model.get('type')} model; llama.cpp merges bytes as BPE does. {NEXT}"
        )
    for key, plain in PLAIN_MODEL.items():
        if model.get(key) not in plain:
            said = f"'{path}': {key} is {model[key]!r}"
            raise BadInput(f"{said}, which llama.cpp does not do. {NEXT}")
    normalizer = data.get("normalizer")
    kind = None if normalizer is None else normalizer.get("type")
    if kind not in NORMALIZERS:
        raise BadInput(
            f"'{path}' normalises texts by {kind}; llama.cpp takes them as they are. {NEXT}"
        )


def _check_added(path: Path, data: Mapping[str, Any]) -> None:
    for token in data.get("added_tokens") or []:
        for key in ("lstrip", "rstrip", "single_word"):
            if token.get(key):
                raise BadInput(
                    f"'{path}': {token['content']!r} is found with {key}, which llama.cpp does not "
                    f"do. {NEXT}"
                )


def _check_ends(path: Path, around: tuple[str, str]) -> None:
    """Compare what stands around a text with what the file will say."""
    fast = tokenizers.Tokenizer.from_file(str(path))
    wanted = [fast.token_to_id(token) for token in around if token]
    ids = fast.encode("").ids
    if ids != wanted:
        raise BadInput(
            f"'{path}' puts the ids {ids} around a text, this architecture is written with "
            f"{wanted} ({' and '.join(token for token in around if token)}); take the tokenizer "
            "files from one base model"
        )


TOKENIZER = ByteLevel()
