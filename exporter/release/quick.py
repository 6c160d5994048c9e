"""A first look at a release: two files, on a part of the corpus."""

import random

from exporter.corpus.beir import Corpus, make_corpus
from exporter.errors import BadInput
from exporter.format import all_formats
from exporter.recipe import ArtifactSpec, Recipe

QUESTIONS, DOCUMENTS = 100, 1000


def quick_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe with its first 8 bits of each format that a first look is at, to judge on
    the whole of a small corpus, without packages. Raises BadInput where it has neither."""
    chosen: dict[str, ArtifactSpec] = {}
    for spec in recipe.artifacts:
        if spec.format_record.schemes[spec.scheme] == "8bit" and spec.flavour != "web":
            chosen.setdefault(spec.format, spec)
    looked_at = [found for found in all_formats() if found.first_look]
    names = {found.name for found in looked_at}
    wanted = [spec for format, spec in chosen.items() if format in names]
    if not wanted:
        labels = " or ".join(found.label for found in looked_at)
        raise BadInput(f"the recipe has no 8-bit {labels} for a first look; leave --quick out")
    bare = tuple(spec.model_copy(update={"packages": (), "required": False}) for spec in wanted)
    return recipe.model_copy(update={"artifacts": bare, "pool": 0})


def quick_corpus(corpus: Corpus, *, seed: int) -> Corpus:
    """Return `QUESTIONS` questions at random, their right answers, and other documents at random
    up to `DOCUMENTS`; all of a smaller corpus."""
    draw = random.Random(seed)
    asked = draw.sample(corpus.query_ids, min(QUESTIONS, len(corpus.query_ids)))
    answers = {key for query in asked for key in corpus.qrels[query]}
    others = [key for key in corpus.doc_ids if key not in answers]
    room = max(0, min(DOCUMENTS - len(answers), len(others)))
    kept = answers | set(draw.sample(others, room))
    documents = {
        key: (title, text)
        for key, title, text in zip(corpus.doc_ids, corpus.titles, corpus.texts, strict=True)
        if key in kept
    }
    questions = dict(zip(corpus.query_ids, corpus.queries, strict=True))
    return make_corpus(
        documents,
        {key: questions[key] for key in asked},
        corpus.qrels,
        name=f"{corpus.name}, a part of it",
        split=corpus.split,
    )
