"""The articles and questions that a report names, so that it can be read without the corpus."""

from collections.abc import Iterable

from exporter.corpus.beir import Corpus
from exporter.parity.compare import shorten
from exporter.parity.measured import ChangedAnswer, CosineSummary
from exporter.parity.results import Article, ArtifactResult, NoiseFloor, Question

EXCERPT = 240
"""Characters of an article: three in four of the bundled corpus stand whole."""


def mentioned(
    corpus: Corpus, artifacts: Iterable[ArtifactResult], floors: Iterable[NoiseFloor]
) -> tuple[dict[str, Article], dict[str, Question]]:
    """Return (articles, questions) by id: those among worst texts and changed answers, and the
    right articles of these questions."""
    documents: set[str] = set()
    questions: set[str] = set()

    def worst(cosine: CosineSummary) -> None:
        for text in cosine.worst:
            (documents if text.kind == "document" else questions).add(text.id)

    def changed(answer: ChangedAnswer) -> None:
        questions.add(answer.question)
        documents.update((answer.reference_first, answer.our_first))

    for floor in floors:
        worst(floor.cosine)
    for artifact in artifacts:
        if artifact.vocabulary is not None and artifact.vocabulary.cosine is not None:
            worst(artifact.vocabulary.cosine)
        for d in artifact.dims:
            worst(d.cosine)
            for deployment in d.deployments:
                for answer in deployment.changed_answers:
                    changed(answer)
    at = {identifier: i for i, identifier in enumerate(corpus.query_ids)}
    asked = {
        q: Question(
            text=shorten(corpus.queries[at[q]], length=EXCERPT),
            right=tuple(sorted(d for d, grade in corpus.qrels[q].items() if grade > 0)),
        )
        for q in sorted(questions)
    }
    documents.update(d for question in asked.values() for d in question.right)
    where = {identifier: i for i, identifier in enumerate(corpus.doc_ids)}
    articles = {
        d: Article(
            title=corpus.titles[where[d]], text=shorten(corpus.texts[where[d]], length=EXCERPT)
        )
        for d in sorted(documents)
    }
    return articles, asked
