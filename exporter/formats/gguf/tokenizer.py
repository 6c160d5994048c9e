"""llama.cpp's vocabulary `llama`, from tokenizer.model and the files that override it.

Rules of llama.cpp's converter (conversion/base.py, _create_vocab_sentencepiece): missing ids are
unused, added tokens are control where special, else user-defined with U+2581 as a literal space.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import gguf
import sentencepiece

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.json_file import read_object
from exporter.formats.gguf.tokenizer_limits import check_tokenizer

TYPE = gguf.TokenType
LOOK_SPECIAL = ("<pad>", "<mask>", "<2mass>", "[@BOS@]")


class GgufTokenizer(Protocol):
    """A kind of tokenizer that llama.cpp has; its name stands in `names.TOKENIZERS`."""

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise BadInput where llama.cpp would give other token ids than tokenizer.json."""
        ...

    def add(self, writer: Any, checkpoint: Checkpoint) -> None:
        """Add the vocabulary's keys, in the order of llama.cpp's converter."""
        ...

    def unicode_form(self, folder: Path) -> str:
        """Return the form in which texts must be for equal ids, as unicodedata names it; "" where
        any will do."""
        ...


class SentencePiece:
    """See `GgufTokenizer`."""

    def check(self, checkpoint: Checkpoint) -> None:
        check_tokenizer(checkpoint.tokenizer_folder)

    def add(self, writer: Any, checkpoint: Checkpoint) -> None:
        pieces, scores, types = read_entries(checkpoint)
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(pieces)
        writer.add_token_scores(scores)
        writer.add_token_types(types)
        special = gguf.SpecialVocab(checkpoint.tokenizer_folder, n_vocab=len(pieces))
        # tokenizer.json decides (`check` saw it add both), as in upstream's own gguf-py; 0.19.0 on
        # PyPI lets tokenizer_config.json overrule it, and a text would lose its EOS.
        special.add_special_token.update(bos=True, eos=True)
        special.add_to_gguf(writer, quiet=True)
        writer.add_add_space_prefix(False)

    def unicode_form(self, folder: Path) -> str:
        del folder
        return ""


Entries = tuple[list[bytes], list[float], list[int]]


def read_entries(checkpoint: Checkpoint) -> Entries:
    """Return (pieces, scores, types) in the order of token ids, of the checkpoint's vocabulary."""
    assert checkpoint.architecture is not None
    entries = _read_all(checkpoint.path, size=checkpoint.architecture.vocab_size)
    if checkpoint.vocabulary is None:
        return entries
    kept = checkpoint.vocabulary.kept.tolist()
    pieces, scores, types = entries
    return [pieces[i] for i in kept], [scores[i] for i in kept], [types[i] for i in kept]


def _read_all(folder: Path, *, size: int) -> Entries:
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    pieces = [f"[PAD{i}]".encode() for i in range(size)]
    scores, types = [-10000.0] * size, [int(TYPE.UNUSED)] * size
    for i in range(min(size, model.get_piece_size())):
        pieces[i] = model.id_to_piece(i).encode()
        scores[i] = model.get_score(i)
        types[i] = int(_type(model, i))
    added = folder / "added_tokens.json"
    if added.is_file():
        for token, i in read_object(added).items():
            if i < size:
                pieces[i], scores[i] = token.encode(), -1000.0
                types[i] = int(TYPE.USER_DEFINED)
    config = folder / "tokenizer_config.json"
    decoder = read_object(config).get("added_tokens_decoder") or {} if config.is_file() else {}
    for key, data in decoder.items():
        if int(key) < size:
            i = int(key)
            token, types[i] = added_token(data)
            pieces[i], scores[i] = token.encode(), -1000.0
    return pieces, scores, types


def _type(model: sentencepiece.SentencePieceProcessor, i: int) -> Any:
    if model.is_unknown(i):
        return TYPE.UNKNOWN
    if model.is_control(i):
        return TYPE.CONTROL
    if model.is_unused(i):
        return TYPE.UNUSED
    return TYPE.BYTE if model.is_byte(i) else TYPE.NORMAL


def added_token(data: Mapping[str, Any]) -> tuple[str, int]:
    """Return an added token as the file holds it, and its type. data: as configs describe it."""
    token: str = data["content"]
    special = (
        data.get("special")
        or token in LOOK_SPECIAL
        or (token.startswith("<|") and token.endswith("|>"))
        or (token.startswith("<｜") and token.endswith("｜>"))
        or (token.startswith("<unused") and token.endswith(">"))
    )
    if special:
        return token, int(TYPE.CONTROL)
    return token.replace("\u2581", " "), int(TYPE.USER_DEFINED)


TOKENIZER = SentencePiece()
