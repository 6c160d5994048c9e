"""The vocabulary in a GGUF: what makes token ids differ from the model's own."""

from collections.abc import Iterable
from typing import Any

from exporter.architectures.family import GgufFamily
from exporter.checkpoint.contents import Finding
from exporter.formats.gguf.metadata import WHOLE_KEY
from exporter.formats.gguf.read import GgufHeader
from exporter.formats.gguf.tensors import known_families

PRE = "tokenizer.ggml."
BYTE, CONTROL = 6, 3
LAST = 3
"""pooling_type of the last token."""
AGAIN = "convert the model again with its own tokenizer files beside it"


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
    if keys.get(PRE + "model") == "gpt2":
        yield from _bytes(keys)


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
    family = _family(keys)
    if family is None:
        return
    counted = "which mean pooling counts"
    if keys.get(f"{family.architecture}.pooling_type") == LAST:
        counted = "which last-token pooling lies on"
    for end in family.adds:
        flag = keys.get(f"{PRE}add_{end}_token")
        if flag is False:
            yield _error(
                f"add-{end}",
                f"add_{end}_token is false",
                f"texts lose their {end.upper()}, {counted}: every vector moves",
            )
        elif flag is None and end == "eos":
            yield _error(
                "add-eos",
                "add_eos_token is missing; llama.cpp then adds none",
                f"texts lose their EOS, {counted}: every vector moves",
            )
    if "bos" not in family.adds and keys.get(f"{PRE}add_bos_token") is True:
        yield _error(
            "add-bos",
            "add_bos_token is true",
            "texts begin with a token that this architecture was trained without: every vector "
            "moves",
        )
    yield from _end_token(keys, family)


def _end_token(keys: Any, family: GgufFamily) -> Iterable[Finding]:
    """Compare what `add_eos_token` adds with the token that the family was trained with."""
    tokens, end = keys[PRE + "tokens"], keys.get(PRE + "eos_token_id")
    if not family.end or end is None or not 0 <= int(end) < len(tokens):
        return
    said = tokens[int(end)].decode("utf-8", "replace")
    if said != family.end:
        yield _error(
            "other-eos",
            f"eos_token_id {int(end):,} is {said!r}, not {family.end!r}",
            "texts end with a token that embedding models of this architecture were not trained "
            "to be read at: every vector is another one",
        )


def _family(keys: Any) -> GgufFamily | None:
    """Return the family of the file, None for one that this tool does not write."""
    name = keys.get("general.architecture")
    return next((family for family in known_families() if family.architecture == name), None)


def _bytes(keys: Any) -> Iterable[Finding]:
    """Look at a tokenizer that merges bytes."""
    if not keys.get(PRE + "merges"):
        yield _error(
            "no-merges",
            "the file has no tokenizer.ggml.merges",
            "texts fall to single bytes: other token ids",
        )
    family, pre = _family(keys), keys.get(PRE + "pre")
    if family is not None and pre != family.pre:
        said = "missing; llama.cpp then takes another" if pre is None else f"{pre!r}"
        yield _error(
            "pre-tokenizer",
            f"tokenizer.ggml.pre is {said}, this architecture's is {family.pre!r}",
            "texts are split at other places before pieces are merged: other token ids",
        )


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
    if _family(keys) is not None:
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
