"""A pool: who gets in, and what it can miss is never less than what it missed."""

from dataclasses import replace

import numpy as np
import pytest

from exporter.checkpoint.contents import Prompts
from exporter.corpus.beir import Corpus
from exporter.corpus.bm25 import rank_by_bm25
from exporter.parity.pool import Pool, choose_pool
from exporter.parity.pool_falls import falls, grades_of
from exporter.parity.pool_missed import Bound, bound_missed, near_outside
from exporter.vectors.embed import Embedded, Texts
from exporter.vectors.rows import Rows, Vectors
from exporter.vectors.search import Values, measure, search

DOCUMENTS, QUESTIONS, DIM = 800, 60, 32
PLAIN = Prompts(query="{text}", document="{text}")


def make_corpus(rng: np.random.Generator) -> Corpus:
    """Return a corpus of which some questions have two right documents, of unlike grades."""
    ids = tuple(f"d{i:04}" for i in range(DOCUMENTS))
    letters = np.array(list("甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉"))
    texts = ["".join(rng.choice(letters, 12)) for _ in ids]
    texts[-1] = texts[0]
    qrels = {f"q{i:03}": {ids[i]: 2, ids[i + 400]: 1} for i in range(QUESTIONS)}
    return Corpus(
        name="made",
        split="test",
        doc_ids=ids,
        titles=("",) * DOCUMENTS,
        texts=tuple(texts),
        query_ids=tuple(qrels),
        queries=tuple(texts[i][2:8] for i in range(QUESTIONS)),
        qrels=qrels,
        sha256="0" * 64,
    )


def unit(vectors: np.ndarray) -> Vectors:
    rows: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return rows


def embedded(documents: np.ndarray, questions: np.ndarray, name: str) -> Embedded:
    def rows(vectors: np.ndarray) -> Rows:
        return Rows(unit(vectors), np.arange(len(vectors)), vectors.shape[1], name)

    return Embedded(name, rows(documents), rows(questions))


class World:
    """A corpus, the chooser's vectors, and encoders that lie some distance away from it."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.corpus = make_corpus(self.rng)
        self.texts = Texts(self.corpus, PLAIN)
        topics = self.rng.standard_normal((40, DIM))
        near = topics[self.rng.integers(0, 40, DOCUMENTS)]
        self.documents = unit(near + 0.6 * self.rng.standard_normal((DOCUMENTS, DIM)))
        self.questions = unit(
            self.documents[:QUESTIONS] + 0.12 * self.rng.standard_normal((QUESTIONS, DIM))
        )
        self.chooser = embedded(self.documents, self.questions, "chooser")

    def encoder(self, distance: float, *, wild: float = 0.0) -> Embedded:
        """Return an encoder whose documents are moved by `distance`, some of them ten times as
        far: a share of `wild`."""
        size = np.where(self.rng.random(DOCUMENTS) < wild, 10 * distance, distance)
        size *= self.rng.lognormal(0, 0.5, DOCUMENTS)
        noise = unit(self.rng.standard_normal((DOCUMENTS, DIM))) * size[:, None]
        asked = unit(self.rng.standard_normal((QUESTIONS, DIM))) * distance
        return embedded(self.documents + noise, self.questions + asked, "moved")

    def pool(self, first: int = 10, sample: int = 100) -> Pool:
        pool = choose_pool(
            self.corpus, self.texts, self.chooser, first=first, dims=[DIM], seed=0, sample=sample
        )
        assert pool is not None
        return pool

    def values(self, corpus: Corpus, queries: Rows, documents: Rows) -> dict[str, Values]:
        found = search(queries, documents)
        return measure(
            found, doc_ids=corpus.doc_ids, query_ids=corpus.query_ids, qrels=corpus.qrels
        )

    def missed(self, pool: Pool, encoder: Embedded) -> tuple[dict[str, float], float, Bound]:
        """Return by how much the pool's means are too high, how many documents it missed among the
        ten, a question, and what was said of both."""
        documents, queries = encoder.at(DIM)
        whole = self.values(self.corpus, queries, documents)
        inside = documents.take(pool.documents)
        pooled = self.values(pool.part, queries, inside)
        ranking = search(queries, inside)
        bound = bound_missed(
            pool,
            queries=queries,
            documents=inside,
            ranking=ranking,
            values=pooled,
            grades=grades_of(ranking, pool.part),
            near=near_outside(pool, queries),
        )
        outside = np.isin(search(queries, documents), pool.outside).sum(axis=1).mean()
        fell = {name: float((pooled[name] - whole[name]).mean()) for name in whole}
        return fell, float(outside), bound


def test_a_pool_holds_what_each_chooser_names_the_answers_and_a_sample() -> None:
    world = World()
    pool = world.pool(first=5, sample=50)
    held = set(pool.documents.tolist())
    assert set(search(world.chooser.queries, world.chooser.documents, k=5).ravel()) <= held
    assert set(rank_by_bm25(world.corpus, k=5).ravel()) <= held
    assert {int(d[1:]) for answers in world.corpus.qrels.values() for d in answers} <= held
    assert DOCUMENTS - 1 in held  # the same text as document 0, which is an answer
    assert len(pool.drawn) == pool.record.drawn == 50
    assert held.isdisjoint(pool.outside.tolist())
    assert len(held) + len(pool.outside) == DOCUMENTS
    assert pool.part.doc_ids == tuple(world.corpus.doc_ids[i] for i in pool.documents)
    assert (pool.part.sha256, pool.part.queries) == (world.corpus.sha256, world.corpus.queries)
    assert (pool.documents[pool.drawn_at] == pool.drawn).all()


def test_the_same_seed_draws_the_same_sample_and_another_one_another() -> None:
    world = World()
    options = {"first": 5, "dims": [DIM], "sample": 50}
    draws = [
        choose_pool(world.corpus, world.texts, world.chooser, seed=seed, **options)  # type: ignore[arg-type]
        for seed in (0, 0, 1)
    ]
    one, again, other = (pool.drawn.tolist() for pool in draws if pool)
    assert one == again != other


@pytest.mark.parametrize(("first", "sample"), [(DOCUMENTS + 1, 0), (5, DOCUMENTS)])
def test_a_pool_of_every_document_is_the_whole_corpus(first: int, sample: int) -> None:
    world = World()
    assert (
        choose_pool(
            world.corpus, world.texts, world.chooser, first=first, dims=[DIM], seed=0, sample=sample
        )
        is None
    )


def test_a_narrow_dim_puts_its_own_first_documents_into_the_pool() -> None:
    world = World()
    both = choose_pool(
        world.corpus, world.texts, world.chooser, first=5, dims=[DIM, 8], seed=0, sample=0
    )
    assert both is not None
    documents, queries = world.chooser.at(8)
    named = set(search(queries, documents, k=5).ravel())
    assert named <= set(both.documents.tolist())
    assert not named <= set(world.pool(first=5, sample=0).documents.tolist())


def test_the_chooser_has_the_figures_of_the_whole_corpus() -> None:
    world = World()
    fell, outside, bound = world.missed(world.pool(first=10), world.chooser)
    assert set(fell.values()) == {0.0}
    assert outside == bound.entering == 0
    assert set(bound.measures.values()) == {0.0}


@pytest.mark.parametrize("first", [1, 3, 10])
@pytest.mark.parametrize(("distance", "wild"), [(0.02, 0.0), (0.15, 0.0), (0.1, 0.05), (0.6, 0.0)])
def test_what_a_pool_misses_is_never_more_than_the_bound(
    first: int, distance: float, wild: float
) -> None:
    missed = 0.0
    for seed in range(5):
        world = World(seed)
        fell, outside, bound = world.missed(
            world.pool(first=first), world.encoder(distance, wild=wild)
        )
        for name, value in fell.items():
            assert 0 <= value <= bound.measures[name] + 1e-9, (seed, name)
        assert outside <= bound.entering, seed
        missed += outside
    # Something was there to be missed.
    assert missed > 0 or (first, distance) == (10, 0.02)


def test_the_bound_grows_with_the_distance_and_shrinks_with_the_pool() -> None:
    world = World()
    pool = world.pool(first=3)
    bounds = [world.missed(pool, world.encoder(d))[2] for d in (0.01, 0.1, 0.5)]
    entering = [bound.entering for bound in bounds]
    assert entering == sorted(entering)
    assert bounds[0].measures["mrr_at_10"] < 0.01 < bounds[2].measures["mrr_at_10"]
    encoder = world.encoder(0.1)
    by_pool = [world.missed(world.pool(first=k), encoder)[2].entering for k in (1, 3, 10)]
    assert by_pool == sorted(by_pool, reverse=True)


def test_without_a_sample_nothing_is_vouched_for() -> None:
    world = World()
    pool = world.pool(first=1, sample=0)
    encoder = world.encoder(0.02)
    inside = encoder.documents.take(pool.documents)
    values = world.values(pool.part, encoder.queries, inside)
    _, _, bound = world.missed(pool, encoder)
    assert bound.measures == {name: float(v.mean()) for name, v in values.items()}
    assert bound.entering == 10


def test_a_document_above_the_right_ones_costs_no_more_than_its_fall() -> None:
    rng = np.random.default_rng(0)
    ids = [f"d{i}" for i in range(40)]
    for _ in range(200):
        right = rng.choice(20, rng.integers(1, 4), replace=False)
        qrels = {"q": {ids[int(d)]: int(rng.integers(1, 3)) for d in right}}
        ranking = np.arange(10)[None]

        def of(found: np.ndarray, answers: dict[str, dict[str, int]]) -> dict[str, Values]:
            return measure(found, doc_ids=ids, query_ids=["q"], qrels=answers)

        before = of(ranking, qrels)
        grades = np.array([[qrels["q"].get(ids[i], 0) for i in range(10)]])
        most = falls(grades, before)
        for m in range(1, 11):
            pushed = np.concatenate([np.arange(30, 30 + m), np.arange(10 - m)])[None]
            after = of(pushed, qrels)
            for name, value in most.items():
                assert before[name][0] - after[name][0] <= m * value[0] + 1e-9, (name, m)


def test_bm25_ranks_by_shared_bigrams_and_ties_by_place() -> None:
    world = World()
    corpus = replace(
        world.corpus,
        doc_ids=("a", "b", "c"),
        titles=("", "押金", ""),
        texts=("房东不退押金", "房东", "押金"),
        queries=("退押金", "无关"),
        query_ids=("q0", "q1"),
    )
    assert rank_by_bm25(corpus, k=9).tolist() == [[0, 2, 1], [0, 1, 2]]
