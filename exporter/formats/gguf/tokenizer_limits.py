"""Which tokenizers llama.cpp's SentencePiece tokenizer reproduces. Others are refused.

llama.cpp merges the pieces of tokenizer.model by score, on the text as it is: no normalisation
but the space mark, no unigram model, bytes for whatever is not a piece.
"""

from pathlib import Path

import gguf
import sentencepiece
import tokenizers

from exporter.checkpoint.json_file import read_object
from exporter.errors import BadInput

NEXT = "export ONNX instead: lawvault export onnx"
BYTES = 256
# Two spaces, a full-width letter and both ends: what a normalisation would change.
PROBE = "a  Ａ一 "


def check_tokenizer(folder: Path) -> None:
    """Raise BadInput where llama.cpp would give other token ids than tokenizer.json."""
    path = folder / "tokenizer.model"
    if not path.is_file():
        raise BadInput(
            f"'{path}' is missing; without it a GGUF gets a wrong vocabulary, "
            "copy it from the base model"
        )
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    normalised = model.normalize(PROBE)
    if normalised.startswith("\u2581"):
        raise BadInput(
            f"'{path}' puts a space in front of each text, and the file format of this "
            f"architecture says that none is added. {NEXT}"
        )
    if normalised != PROBE.replace(" ", "\u2581"):
        raise BadInput(
            f"'{path}' turns {PROBE!r} into {normalised!r} before it looks for pieces; llama.cpp "
            f"takes texts as they are. {NEXT}"
        )
    found = sum(model.is_byte(i) for i in range(model.get_piece_size()))
    if found != BYTES:
        raise BadInput(
            f"'{path}' has {found} byte pieces of {BYTES}; llama.cpp falls back to bytes for "
            f"unknown characters. {NEXT}"
        )
    model_type = (read_object(folder / "tokenizer.json").get("model") or {}).get("type")
    if model_type != "BPE":
        raise BadInput(
            f"'{folder / 'tokenizer.json'}' is a {model_type} model; llama.cpp merges pieces as "
            f"BPE does. {NEXT}"
        )
    _check_ends(folder, size=model.get_piece_size())


def _check_ends(folder: Path, *, size: int) -> None:
    """Compare the first and last token of a text with those that the file will name."""
    fast = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = fast.encode("").ids
    named = gguf.SpecialVocab(folder, n_vocab=size).special_token_ids
    if ids != [named.get("bos"), named.get("eos")]:
        raise BadInput(
            f"'{folder / 'tokenizer.json'}' puts the ids {ids} around a text, the configs name "
            f"{named.get('bos')} and {named.get('eos')} as BOS and EOS; take the tokenizer files "
            "from one base model"
        )
