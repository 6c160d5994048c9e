"""One question, asked of the original and of artifacts: what each of them finds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from exporter import __version__
from exporter.corpus.beir import Corpus
from exporter.errors import BadInput
from exporter.parity.run import checked_manifest
from exporter.progress import Stages
from exporter.records import Record
from exporter.runtimes.encoder import Original, Source
from exporter.vectors.embed import embed_each
from exporter.vectors.rows import Rows
from exporter.vectors.search import search

Index = Literal["own", "original"]


class FoundArticle(Record):
    """An article in a list. `score`: cosine to the question. `was`: its rank in the original's
    list, None where it is not in there."""

    id: str
    rank: int
    score: float
    was: int | None


class AnswerList(Record):
    """What one encoder finds. `in_common`: articles that are among the original's, too."""

    name: str
    size_bytes: int | None
    found: tuple[FoundArticle, ...]
    in_common: int


class ShownArticle(Record):
    """An article as its corpus has it."""

    title: str
    text: str


class OneQuestion(Record):
    """A question and its answers, the original's first. `index`: whose documents' vectors an
    artifact's question is compared with."""

    tool_version: str
    question: str
    query_prompt: str
    corpus: str
    corpus_sha256: str
    documents: int
    dim: int
    index: Index
    answers: tuple[AnswerList, ...]
    articles: dict[str, ShownArticle]


def ask(
    question: str,
    artifacts: Sequence[Path],
    *,
    original: Original,
    corpus: Corpus,
    index: Index,
    artifact_source: Callable[[Path], Source],
    stages: Stages,
    cache: Path,
    top: int = 10,
    dim: int | None = None,
) -> OneQuestion:
    """Return the `top` articles that torch bf16 and each artifact find for `question`.

    Vectors are kept in `cache`, where `parity` leaves them too. Raises BadInput for an empty
    question, and for artifacts of another checkpoint, other prompts or fewer dimensions.
    """
    if not question.strip():
        raise BadInput("the question is empty; write one")
    checkpoint = original.checkpoint
    width = dim or checkpoint.dim
    manifests = [checked_manifest(folder, checkpoint) for folder in artifacts]
    for folder, manifest in zip(artifacts, manifests, strict=True):
        if width > manifest.dim:
            raise BadInput(f"'{folder}' has only {manifest.dim} dimensions; pass a smaller --dim")
    prompts = checkpoint.prompts
    documents = [
        prompts.render_document(text, title=title)
        for title, text in zip(corpus.titles, corpus.texts, strict=True)
    ]
    asked = [prompts.render_query(question.strip())]

    def rows(source: Source, texts: Sequence[str]) -> Rows:
        return embed_each(source, texts, cache=cache, start=stages).cut(width)

    ours = rows(original.used, documents)
    first = _answers("original (torch bf16)", rows(original.used, asked), ours, corpus, top=top)
    ranks = {article.id: article.rank for article in first.found}
    answers = [first]
    for folder, manifest in zip(artifacts, manifests, strict=True):
        source = artifact_source(folder)
        theirs = ours if index == "original" else rows(source, documents)
        answers.append(
            _answers(
                manifest.name,
                rows(source, asked),
                theirs,
                corpus,
                top=top,
                ranks=ranks,
                size_bytes=manifest.size_bytes,
            )
        )
    place = {key: i for i, key in enumerate(corpus.doc_ids)}
    shown = dict.fromkeys(article.id for answer in answers for article in answer.found)
    return OneQuestion(
        tool_version=__version__,
        question=question.strip(),
        query_prompt=prompts.query,
        corpus=corpus.name,
        corpus_sha256=corpus.sha256,
        documents=len(documents),
        dim=width,
        index=index,
        answers=tuple(answers),
        articles={
            key: ShownArticle(title=corpus.titles[place[key]], text=corpus.texts[place[key]])
            for key in shown
        },
    )


def _answers(
    name: str,
    asked: Rows,
    documents: Rows,
    corpus: Corpus,
    *,
    top: int,
    ranks: dict[str, int] | None = None,
    size_bytes: int | None = None,
) -> AnswerList:
    places = search(asked, documents, k=top)[0]
    question = asked.block(0, 1)[0].astype(np.float64)
    scores = [float(documents.block(p, p + 1)[0].astype(np.float64) @ question) for p in places]
    ids = [corpus.doc_ids[int(place)] for place in places]
    known = {key: i + 1 for i, key in enumerate(ids)} if ranks is None else ranks
    return AnswerList(
        name=name,
        size_bytes=size_bytes,
        found=tuple(
            FoundArticle(id=key, rank=i + 1, score=score, was=known.get(key))
            for i, (key, score) in enumerate(zip(ids, scores, strict=True))
        ),
        in_common=sum(key in known for key in ids),
    )
