"""Exact search with real ties, and measures worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exporter.parity.retrieval import (
    first_place_changed,
    means,
    measure,
    overlap,
    search,
    top_columns,
)


def unit(rows: list[list[float]]) -> np.ndarray:
    values = np.array(rows, np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_search_ranks_by_score_then_by_the_smaller_id() -> None:
    documents = unit([[0, 1], [1, 0], [1, 1], [1, 0]])
    assert search(unit([[1, 0]]), documents).tolist() == [[1, 3, 2, 0]]


def test_equal_articles_tie_exactly_wherever_they_lie_in_the_corpus() -> None:
    rng = np.random.default_rng(0)
    documents = rng.standard_normal((1003, 67)).astype(np.float32)
    twins = [3, 250, 511, 777, 1002]
    documents[twins] = documents[3]
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    queries = documents[3] + 0.01 * rng.standard_normal((40, 67)).astype(np.float32)
    found = search(queries.astype(np.float32), documents)
    assert (found[:, :5] == twins).all()


def test_ties_at_the_tenth_place_are_cut_by_id() -> None:
    documents = unit([[1, 0]] * 25)
    assert search(unit([[1, 0]]), documents).tolist() == [list(range(10))]


def test_a_corpus_smaller_than_ten_is_ranked_whole() -> None:
    assert search(unit([[1, 0]]), unit([[0, 1], [1, 0]])).tolist() == [[1, 0]]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            st.lists(st.lists(st.integers(-3, 3), min_size=n, max_size=n), min_size=1, max_size=5),
            st.integers(1, n),
        )
    )
)
def test_the_ranking_is_that_of_a_plain_sort(case: tuple[list[list[int]], int]) -> None:
    rows, k = case
    expected = [sorted(range(len(r)), key=lambda c, r=r: (-r[c], c))[:k] for r in rows]
    assert top_columns(np.array(rows, np.float32), k=k).tolist() == expected


@settings(deadline=None)
@given(
    arrays(np.float32, (5, 3), elements=st.floats(-1, 1, width=16)),
    arrays(np.float32, (40, 3), elements=st.floats(-1, 1, width=16)),
    st.integers(1, 40),
)
def test_search_is_a_full_sort(queries: np.ndarray, documents: np.ndarray, k: int) -> None:
    scores = queries @ documents.T
    expected = [sorted(range(40), key=lambda d, row=row: (-row[d], d))[:k] for row in scores]
    assert search(queries, documents, k=k).tolist() == expected


def test_the_measures_of_three_questions_worked_by_hand() -> None:
    # Right answers at place 1, at place 4, and nowhere: MRR (1 + 1/4 + 0) / 3.
    doc_ids = [f"d{i:02}" for i in range(12)]
    found = np.array([list(range(10)), list(range(10)), list(range(10))])
    qrels = {"q1": {"d00": 1}, "q2": {"d03": 1}, "q3": {"d11": 1}}
    values = measure(found, doc_ids=doc_ids, query_ids=["q1", "q2", "q3"], qrels=qrels)
    assert values["mrr_at_10"].tolist() == [1.0, 0.25, 0.0]
    assert values["hit_at_10"].tolist() == [1.0, 1.0, 0.0]
    assert values["top_1"].tolist() == [1.0, 0.0, 0.0]
    assert values["ndcg_at_10"] == pytest.approx([1.0, 1 / np.log2(5), 0.0])
    assert means(values).mrr_at_10 == pytest.approx(1.25 / 3)


def test_the_order_of_questions_is_kept_and_a_grade_of_zero_is_no_answer() -> None:
    found = np.array([[0, 1], [1, 0]])
    qrels = {"b": {"x": 1, "y": 0}, "a": {"x": 1, "y": 0}}
    values = measure(found, doc_ids=["x", "y"], query_ids=["b", "a"], qrels=qrels)
    assert values["mrr_at_10"].tolist() == [1.0, 0.5]


def test_equal_scores_give_the_figure_of_the_rank_not_of_a_providers_tie_break() -> None:
    documents = unit([[1, 0]] * 10)
    found = search(unit([[1, 0], [1, 0]]), documents)
    ids = [f"d{i}" for i in range(10)]
    qrels = {"first": {"d0": 1}, "last": {"d9": 1}}
    values = measure(found, doc_ids=ids, query_ids=["first", "last"], qrels=qrels)
    assert values["mrr_at_10"] == pytest.approx([1.0, 0.1])


def test_overlap_counts_shared_documents_whatever_their_order() -> None:
    a = np.array([[0, 1, 2, 3], [0, 1, 2, 3]])
    b = np.array([[3, 2, 1, 0], [0, 1, 8, 9]])
    assert overlap(a, b) == pytest.approx((1.0 + 0.5) / 2)
    assert first_place_changed(a, b) == 1
