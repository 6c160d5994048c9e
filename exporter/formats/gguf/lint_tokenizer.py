"""The vocabulary in a GGUF: what makes token ids differ from the model's own."""

from collections.abc import Iterable
from typing import Any

from exporter.checkpoint.contents import Finding
from exporter.formats.gguf.metadata import WHOLE_KEY
from exporter.formats.gguf.read import GgufHeader
from exporter.formats.gguf.tensors import known_families

PRE = "tokenizer.ggml."
BYTE, CONTROL = 6, 3
AGAIN = "convert the model again with its tokenizer.model and tokenizer_config.json beside it"


def lint_tokenizer(header: GgufHeader) -> Iterable[Finding]:
    """Look at flags, special tokens and completeness. SentencePiece has more to go wrong."""
    keys = header.keys
    tokens = keys.get(PRE + "tokens")
    if not isinstance(tokens, list) or not tokens:
        yield _error(
            "no-vocabulary",
            "the file has no tokenizer.ggml.tokens",
            "text cannot be tokenized; llama.cpp does not load it",
        )
        return
    yield from _complete(header, tokens)
    whole = keys.get(WHOLE_KEY)
    if whole is not None:
        yield Finding(
            id="domain-vocabulary",
            severity="info",
            evidence=f"the file holds {len(tokens):,} of its model's {whole:,} pieces",
            effect="texts with others are spelled with shorter pieces or bytes, and their vectors "
            "move",
            remedy="use it for texts of its domain; 'lawvault parity' says what share keeps all",
        )
    yield from _ends(keys, count=len(tokens))
    if keys.get(PRE + "model") == "llama":
        yield from _sentencepiece(header, tokens)


def _complete(header: GgufHeader, tokens: list[bytes]) -> Iterable[Finding]:
    table = next((t for t in header.tensors if t.name == "token_embd.weight"), None)
    if table is not None and table.shape[0] != len(tokens):
        yield _error(
            "vocabulary-size",
            f"{len(tokens):,} tokens for {table.shape[0]:,} rows of token_embd",
            "ids point at other rows than the model was trained with, or llama.cpp does not load",
        )
    for name in ("scores", "token_type"):
        values = header.keys.get(PRE + name)
        if values is not None and len(values) != len(tokens):
            yield _error(
                f"vocabulary-{name.replace('_', '-')}",
                f"{len(values):,} {name} for {len(tokens):,} tokens",
                "llama.cpp reads past their end, or refuses the file",
            )
    placeholders = sum(token.startswith(b"[PAD") for token in tokens)
    if placeholders > len(tokens) // 20:
        yield Finding(
            id="placeholder-tokens",
            severity="warning",
            evidence=f"{placeholders:,} of {len(tokens):,} tokens are placeholders ([PAD...])",
            effect="pieces of the model's vocabulary seem to be missing: their text falls to bytes",
            remedy=AGAIN,
        )


def _ends(keys: Any, *, count: int) -> Iterable[Finding]:
    for end in ("bos", "eos"):
        token = keys.get(f"{PRE}{end}_token_id")
        if token is not None and not 0 <= int(token) < count:
            yield _error(
                f"{end}-out-of-range",
                f"{end}_token_id is {token}, of {count:,} tokens",
                "every text gets an id that the table does not have",
            )
    if not _known(keys):
        return
    for end in ("bos", "eos"):
        flag = keys.get(f"{PRE}add_{end}_token")
        if flag is False:
            yield _error(
                f"add-{end}",
                f"add_{end}_token is false",
                f"texts lose their {end.upper()}, which mean pooling counts: every vector moves",
            )
        elif flag is None and end == "eos":
            yield _error(
                "add-eos",
                "add_eos_token is missing; llama.cpp then adds none",
                "texts lose their EOS, which mean pooling counts: every vector moves",
            )


def _known(keys: Any) -> bool:
    """Return whether the file is of a family whose tokenizer adds BOS and EOS and no space."""
    name = keys.get("general.architecture")
    return any(family.architecture == name for family in known_families())


def _sentencepiece(header: GgufHeader, tokens: list[bytes]) -> Iterable[Finding]:
    keys = header.keys
    if keys.get(PRE + "scores") is None:
        yield _error(
            "no-scores",
            "the file has no tokenizer.ggml.scores",
            "pieces merge in another order: other token ids",
        )
    types = keys.get(PRE + "token_type")
    if types is not None and len(types) == len(tokens):
        found = int((types == BYTE).sum())
        if found != 256:
            yield Finding(
                id="byte-tokens",
                severity="warning",
                evidence=f"{found} byte tokens of 256",
                effect="characters outside the vocabulary cannot fall back to bytes: rare "
                "characters become unknown",
                remedy=AGAIN,
            )
    if _known(keys):
        prefix = keys.get(PRE + "add_space_prefix")
        if prefix is not False:
            said = "missing; llama.cpp then adds one" if prefix is None else "true"
            yield _error(
                "space-prefix",
                f"add_space_prefix is {said}",
                "every text begins with a space that the model never saw: other first "
                "tokens, other vectors",
            )


def _error(id: str, evidence: str, effect: str) -> Finding:
    return Finding(id=id, severity="error", evidence=evidence, effect=effect, remedy=AGAIN)
