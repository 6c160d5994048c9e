"""What a release will take, said beforehand; and a first look at one."""

from dataclasses import replace

import pytest

from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.errors import BadInput
from exporter.recipe import bundled_recipe, read_recipe
from exporter.release.estimate import Estimate, estimate, float32_operations_per_second, in_words
from exporter.release.quick import DOCUMENTS, QUESTIONS, quick_corpus, quick_recipe
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE

RECIPE = read_recipe(bundled_recipe("default"))
CORPUS = read_corpus(BUNDLED_CORPUS)
SPEED = 5e10


def many(times: int) -> object:
    return replace(
        CORPUS,
        doc_ids=tuple(f"{key}-{i}" for i in range(times) for key in CORPUS.doc_ids),
        titles=CORPUS.titles * times,
        texts=tuple(f"{i} {text}" for i in range(times) for text in CORPUS.texts),
    )


def expected(*, times: int = 1, artifacts: int | None = None, speed: float = SPEED) -> Estimate:
    recipe = RECIPE.model_copy(update={"artifacts": RECIPE.artifacts[:artifacts]})
    return estimate(
        read_checkpoint(MINIATURE),
        recipe,
        many(times),  # type: ignore[arg-type]
        tokens=lambda texts: [[0] * len(text) for text in texts],
        operations_per_second=lambda: speed,
    )


def test_more_files_more_documents_and_a_slower_machine_take_more() -> None:
    base = expected()
    assert not base.pooled
    assert expected(speed=SPEED / 2).seconds > 1.9 * base.seconds
    assert expected(artifacts=2).seconds < base.seconds
    assert expected(artifacts=2).disk_bytes < base.disk_bytes
    assert expected(times=3).disk_bytes > base.disk_bytes
    large = expected(times=40, speed=SPEED / 20)
    assert large.pooled
    whole = expected(speed=SPEED / 20).seconds * 40
    assert large.seconds < whole / 2


def test_it_is_said_in_one_line() -> None:
    line = in_words(Estimate(5400, 6.2e9, 4.04e9, pooled=True), ["a", "b"], CORPUS)
    assert line == (
        "2 files; 600 documents and 600 questions of lawvault-mini, judged by a pool of it: about "
        "90 min, 6.2 GB of disk, 4.0 GB of memory"
    )
    assert "about 3 h" in in_words(Estimate(10_000, 1, 1, pooled=False), ["a"], CORPUS)
    assert float32_operations_per_second() > 1e8


def test_a_first_look_takes_two_files_and_a_hundred_questions_with_their_answers() -> None:
    recipe = quick_recipe(RECIPE)
    assert [spec.name for spec in recipe.artifacts] == ["onnx-int8", "gguf-q8_0"]
    assert not any(spec.packages for spec in recipe.artifacts)
    part = quick_corpus(CORPUS, seed=0)
    assert len(part.query_ids) == QUESTIONS
    assert len(part.doc_ids) == min(DOCUMENTS, len(CORPUS.doc_ids))
    assert all(set(part.qrels[query]) <= set(part.doc_ids) for query in part.query_ids)
    assert part.sha256 == quick_corpus(CORPUS, seed=0).sha256 != CORPUS.sha256
    assert quick_corpus(CORPUS, seed=1).query_ids != part.query_ids
    bare = RECIPE.model_copy(update={"artifacts": RECIPE.artifacts[:1]})
    with pytest.raises(BadInput, match="leave --quick out"):
        quick_recipe(bare)
