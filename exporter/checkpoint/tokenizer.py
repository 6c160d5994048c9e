"""What the tokenizer files of a checkpoint promise, tried out on text."""

from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import tokenizers

from exporter.checkpoint.json_file import read_object
from exporter.errors import BadInput

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""What a fast tokenizer is saved as."""

# Written to meet the places where tokenizers differ: spaces, newlines, full-width, bytes.
PROBES = (
    "房东不退押金怎么办",
    "第三十一条　押金最高不超过两个月租金。",
    "two  spaces,   three; 2026年11月",
    "line\nnext\n\nblank",
    "Ａ１，𠮷😀é",
    " leading",
    "trailing ",
)


@dataclass(frozen=True)
class TokenizerFacts:
    """What was seen. `first_difference` is the first probe for which tokenizer.json and
    tokenizer.model give different ids; `specials_in_text` whether user text can hold `<eos>`;
    `composes` whether characters are composed (NFC) before pieces are looked for."""

    adds_bos: bool
    adds_eos: bool
    first_difference: str | None
    specials_in_text: bool
    pieces: int
    highest_id: int
    max_length: int | None
    composes: bool = False


def read_tokenizer(
    folder: Path, *, needs_model: bool, around: tuple[str, str] = ("<bos>", "<eos>")
) -> TokenizerFacts:
    """Load the tokenizer files and try them. `around`: the special tokens looked for before and
    behind a text. Raises BadInput where a file is missing or broken."""
    path, model_path = folder / "tokenizer.json", folder / "tokenizer.model"
    if needs_model and not model_path.is_file():
        raise BadInput(
            f"'{model_path}' is missing; without it a GGUF gets a wrong vocabulary, "
            "copy it from the base model"
        )
    if not path.is_file():
        raise BadInput(f"'{path}' is missing; save the fast tokenizer beside the model")
    try:
        fast = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise BadInput(f"'{path}' cannot be read ({error}); copy the checkpoint again") from None
    fast.no_truncation()
    fast.no_padding()
    ids = fast.encode("").ids
    vocab = fast.get_vocab(with_added_tokens=True)
    facts = TokenizerFacts(
        adds_bos=bool(ids) and ids[0] == vocab.get(around[0]),
        adds_eos=bool(ids) and ids[-1] == vocab.get(around[1]),
        first_difference=_first_difference(fast, model_path) if needs_model else None,
        specials_in_text="<eos>" in vocab
        and vocab["<eos>"] in fast.encode("a<eos>b", add_special_tokens=False).ids,
        pieces=len(vocab),
        highest_id=max(vocab.values(), default=0),
        max_length=_max_length(folder),
        composes=fast.normalizer is not None and fast.normalizer.normalize_str("e\u0301") == "é",
    )
    if facts.pieces == 0:
        raise BadInput(f"'{path}' has an empty vocabulary; copy the checkpoint again")
    return facts


def _first_difference(fast: tokenizers.Tokenizer, model_path: Path) -> str | None:
    try:
        slow = sentencepiece.SentencePieceProcessor(model_file=str(model_path))
    except (OSError, RuntimeError):
        raise BadInput(
            f"'{model_path}' is not a SentencePiece model; copy it from the base model"
        ) from None
    for text in PROBES:
        if fast.encode(text, add_special_tokens=False).ids != slow.encode(text):
            return text
    return None


def _max_length(folder: Path) -> int | None:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return None
    value = read_object(path).get("model_max_length")
    # transformers writes 1e30 for "no limit".
    return value if isinstance(value, int) and 0 < value < 10**9 else None


def load_tokenizer(path: Path, *, max_tokens: int | None) -> tokenizers.Tokenizer:
    """Return the tokenizer of `path`, cutting at `max_tokens` with its special tokens kept, or
    nowhere."""
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise BadInput(f"'{path}' cannot be read as a tokenizer ({error})") from None
    tokenizer.no_padding()
    if max_tokens is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_tokens)
    return tokenizer
