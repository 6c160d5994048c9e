"""The vocabulary of a GGUF from a WordPiece tokenizer.json, and which of them llama.cpp reproduces.

Rules of llama.cpp's converter (conversion/bert.py, class BertModel): a piece that begins a word has
U+2581 in front, one that goes on has lost its `##`. Words of over a hundred letters become [UNK] in
tokenizer.json and pieces in llama.cpp; nothing in a file says so.
"""

from pathlib import Path
from typing import Any

import gguf

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.json_file import read_object
from exporter.checkpoint.tokenizer import load_tokenizer
from exporter.errors import BadInput

NEXT = "export ONNX instead: lawvault export onnx"
TYPE = gguf.TokenType
CONTINUES = "##"
PRE = "jina-v2-en"
"""What the converter calls the uncased English WordPiece; llama.cpp asks for no such name here."""
SPECIAL = {"bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]"}
ALWAYS = {"clean_text": True, "handle_chinese_chars": True, "lowercase": True}
"""What llama.cpp does to every text, by the name of BertNormalizer's option."""


class WordPiece:
    """See `exporter.formats.gguf.tokenizer.GgufTokenizer`."""

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise BadInput where llama.cpp would give other token ids than tokenizer.json."""
        path = checkpoint.tokenizer_folder / "tokenizer.json"
        data = read_object(path)
        model, normalizer = data.get("model") or {}, data.get("normalizer") or {}
        if model.get("type") != "WordPiece" or model.get("continuing_subword_prefix") != CONTINUES:
            raise BadInput(
                f"'{path}' is a {model.get('type')} model; this architecture's files hold "
                f"WordPiece with {CONTINUES}. {NEXT}"
            )
        pre = (data.get("pre_tokenizer") or {}).get("type")
        if normalizer.get("type") != "BertNormalizer" or pre != "BertPreTokenizer":
            raise BadInput(
                f"'{path}' has the normalizer {normalizer.get('type')} and the pre-tokenizer "
                f"{pre}; llama.cpp cuts words as BertNormalizer and BertPreTokenizer do. {NEXT}"
            )
        for option, value in ALWAYS.items():
            if normalizer.get(option, True) is not value:
                raise BadInput(
                    f"'{path}': {option} is not true, and llama.cpp always does it. {NEXT}"
                )
        if normalizer.get("strip_accents") is False:
            raise BadInput(f"'{path}' keeps accents, and llama.cpp takes them away. {NEXT}")
        fast = load_tokenizer(path, max_tokens=None)
        missing = [name for name in SPECIAL.values() if fast.token_to_id(name) is None]
        ends = [fast.token_to_id(SPECIAL[end]) for end in ("bos", "eos")]
        if missing or fast.encode("").ids != ends:
            raise BadInput(
                f"'{path}' puts other tokens around a text than [CLS] and [SEP]"
                + (f", and lacks {', '.join(missing)}" if missing else "")
                + f"; llama.cpp puts these. {NEXT}"
            )

    def add(self, writer: Any, checkpoint: Checkpoint) -> None:
        """Add the vocabulary and its special tokens, in upstream's order."""
        assert checkpoint.architecture is not None
        path = checkpoint.tokenizer_folder / "tokenizer.json"
        pieces, types = read_pieces(path, size=checkpoint.architecture.vocab_size)
        writer.add_tokenizer_model("bert")
        writer.add_tokenizer_pre(PRE)
        writer.add_token_list(pieces)
        writer.add_token_types(types)
        fast = load_tokenizer(path, max_tokens=None)
        for end, name in SPECIAL.items():
            getattr(writer, f"add_{end}_token_id")(fast.token_to_id(name))
        if fast.token_to_id("[MASK]") is not None:
            writer.add_mask_token_id(fast.token_to_id("[MASK]"))
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(True)
        writer.add_add_sep_token(False)
        # By their names: gguf 0.19.0 on PyPI has no methods for these.
        normalizer = read_object(path)["normalizer"]
        writer.add_bool("tokenizer.ggml.normalizer.lowercase", True)
        if normalizer.get("strip_accents") is not None:
            writer.add_bool("tokenizer.ggml.normalizer.strip_accents", True)

    def unicode_form(self, folder: Path) -> str:
        del folder
        return ""


def read_pieces(path: Path, *, size: int) -> tuple[list[str], list[int]]:
    """Return (pieces, types) in the order of token ids, `size` of them."""
    vocabulary = load_tokenizer(path, max_tokens=None).get_vocab(with_added_tokens=True)
    special = {t["id"]: bool(t["special"]) for t in read_object(path).get("added_tokens") or ()}
    named = {i: piece for piece, i in vocabulary.items()}
    pieces, types = [], []
    for i in range(size):
        piece = named.get(i)
        if piece is None:
            found, kind = f"[PAD{i}]", TYPE.UNUSED
        elif i in special:
            found, kind = piece, TYPE.CONTROL if special[i] else TYPE.USER_DEFINED
        else:
            found, kind = piece, TYPE.NORMAL
        pieces.append(found if kind == TYPE.CONTROL else phantom(found))
        types.append(int(kind))
    return pieces, types


def phantom(piece: str) -> str:
    """Return a piece as llama.cpp looks for it, its word having U+2581 in front."""
    return piece.removeprefix(CONTINUES) if piece.startswith(CONTINUES) else "\u2581" + piece


TOKENIZER = WordPiece()
