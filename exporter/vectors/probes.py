"""Probes of a space: a few texts with the vectors that an artifact gives them, right and wrong."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.contents import Prompts
from exporter.runtimes.encoder import Encoder
from exporter.space import Cut, LongProbe, OtherPrompt, Probe, Probes
from exporter.vectors.known_texts import DOCUMENTS, QUERIES, TITLE, long_text

Role = Literal["query", "document"]
Tolerance = Callable[[str], float]
"""How far, as 1 - cosine, a right copy may be for a text as it is encoded, prompt applied."""
OWN_ERRORS = 4
"""Times its own error, as 1 - cosine, that a copy may be away: two vectors an error apart from the
original, at opposite sides of it, are four errors apart."""
LEAST_TOLERANCE = 1e-4
"""What a copy of a file without an error of its own may be away: twice torch bf16's distance, as
some processors run fp32 and fp16 files with fewer digits."""
WIDTH = 128
"""Components by which mistakes are told apart: EmbeddingGemma's narrowest Matryoshka dim."""
DIGITS, MISTAKE_DIGITS = 5, 3
LONG_TOKENS, LONG_PART = 1200, 0.9
"""Of the long probe, at most, and of the model's limit: twice what a server that cuts at 512
leaves, and a second on a small processor."""
CUTS = (128, 256, 512, 1024, 2048, 4096, 8192)
"""Lengths in tokens that servers cut at: MiniLM's, BERT's, llama.cpp's batch, Ollama's context."""
SHOWN_BY = 1 / 20
"""A prompt is told by its direction if it moves the probes by this part of their tolerance; what
moves them less is no other space."""
OTHER_PROMPTS = (
    "{text}",
    "task: search result | query: {text}",
    "task: question answering | query: {text}",
    "task: fact checking | query: {text}",
    "task: classification | query: {text}",
    "task: clustering | query: {text}",
    "task: sentence similarity | query: {text}",
    "task: code retrieval | query: {text}",
    "title: none | text: {text}",
    "title: {title} | text: {text}",
    "{title} {text}",
    "{title}\n{text}",
    "query: {text}",
    "passage: {text}",
    "search_query: {text}",
    "search_document: {text}",
    "为这个句子生成表示以用于检索相关文章：{text}",
    "Represent this sentence for searching relevant passages: {text}",
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
    "Query: {text}",
)
"""EmbeddingGemma's own tasks (https://ai.google.dev/gemma/docs/embeddinggemma/model_card), E5's,
nomic-embed-text's, BGE's, Qwen3-Embedding's."""


def measure_probes(
    encoder: Encoder,
    prompts: Prompts,
    *,
    tolerance: Tolerance,
    source: Literal["measured", "limits"],
    dim: int | None = None,
) -> Probes:
    """Run the probes through an artifact: with its prompts, with others, and cut short.

    `source`: where the tolerance comes from. `dim`: width of the vectors, the encoder's for None.
    """
    dim = dim or encoder.dim
    width = min(WIDTH, dim)
    texts = {"query": [("", text) for text in QUERIES[1:3]], "document": list(DOCUMENTS)}
    wide = long_text(encoder, prompts, tokens=LONG_TOKENS, part=LONG_PART)

    def probes(role: Role) -> tuple[Probe, ...]:
        given = texts[role]
        return _short(encoder, prompts, role, given, dim=dim, width=width, tolerance=tolerance)

    def long(role: Role, title: str) -> LongProbe | None:
        given = (title, wide)
        return _long(encoder, prompts, role, given, dim=dim, width=width, tolerance=tolerance)

    return Probes(
        width=width,
        tolerance_from=source,
        query=probes("query"),
        document=probes("document"),
        long_query=long("query", ""),
        long_document=long("document", TITLE),
    )


def rendered(prompts: Prompts, role: Role, title: str, text: str) -> str:
    """Return a text of this role as it is encoded."""
    if role == "query":
        return prompts.render_query(text)
    return prompts.render_document(text, title=title)


def _short(
    encoder: Encoder,
    prompts: Prompts,
    role: Role,
    texts: Sequence[tuple[str, str]],
    *,
    dim: int,
    width: int,
    tolerance: Tolerance,
) -> tuple[Probe, ...]:
    given = [rendered(prompts, role, title, text) for title, text in texts]
    right = encoder.encode(given, dim=dim)
    limits = [tolerance(text) for text in given]
    others: list[list[OtherPrompt]] = [[] for _ in texts]
    seen = {tuple(given)}
    for template in _others(prompts, role):
        other = Prompts(query=template, document=template)
        changed = tuple(rendered(other, "document", title, text) for title, text in texts)
        if changed in seen:  # without a title many are alike
            continue
        seen.add(changed)
        wrong = encoder.encode(changed, dim=dim)
        moved = 1 - (right * wrong).sum(axis=1)
        if not all(m > SHOWN_BY * limit for m, limit in zip(moved, limits, strict=True)):
            continue
        for found, row in zip(others, wrong, strict=True):
            found.append(OtherPrompt(prompt=template, vector=_leading(row, width)))
    return tuple(
        Probe(
            text=text,
            title=title,
            vector=_rounded(row, DIGITS),
            tolerance=float(f"{limit:.3g}"),
            others=tuple(found),
        )
        for (title, text), row, limit, found in zip(texts, right, limits, others, strict=True)
    )


def _others(prompts: Prompts, role: Role) -> list[str]:
    """Return the templates that a caller may use instead: the other role's, its own twice, usual
    ones."""
    own, others = prompts.query, prompts.document
    if role == "document":
        own, others = others, own
    own = own if "{text}" in own else own + "{text}"
    others = others if "{text}" in others else others + "{text}"
    twice = own.replace("{text}", own)
    return [t for t in dict.fromkeys((others, twice, *OTHER_PROMPTS)) if t != own]


def _long(
    encoder: Encoder,
    prompts: Prompts,
    role: Role,
    titled: tuple[str, str],
    *,
    dim: int,
    width: int,
    tolerance: Tolerance,
) -> LongProbe | None:
    """Return the long probe of a role; None for a model whose limit leaves nothing to cut."""
    title, text = titled
    given = rendered(prompts, role, title, text)
    tokens = len(encoder.token_ids([given])[0])
    lengths = [count for count in CUTS if count < 0.9 * tokens]
    if not lengths:
        return None
    cut = [_cut(encoder, given, count) for count in lengths]
    rows = encoder.encode([given, *cut], dim=dim)
    return LongProbe(
        text=text,
        title=title,
        vector=_rounded(rows[0], DIGITS),
        tolerance=float(f"{tolerance(given):.3g}"),
        tokens=tokens,
        cuts=tuple(
            Cut(tokens=count, vector=_leading(row, width))
            for count, row in zip(lengths, rows[1:], strict=True)
        ),
    )


def _cut(encoder: Encoder, text: str, tokens: int) -> str:
    """Return the longest beginning of `text` that gives at most so many tokens."""
    least, most = 1, len(text)
    while least < most:
        middle = (least + most + 1) // 2
        if len(encoder.token_ids([text[:middle]])[0]) <= tokens:
            least = middle
        else:
            most = middle - 1
    return text[:least]


def _leading(row: npt.NDArray[np.float32], width: int) -> tuple[float, ...]:
    part = row[:width].astype(np.float64)
    return _rounded(part / np.linalg.norm(part), MISTAKE_DIGITS)


def _rounded(row: npt.NDArray[np.floating], digits: int) -> tuple[float, ...]:
    return tuple(float(f"{float(value):.{digits}g}") for value in row)
