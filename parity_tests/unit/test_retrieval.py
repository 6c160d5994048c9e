"""Exact search with real ties, and measures worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exporter.errors import BadInput
from exporter.vectors.rows import Rows
from exporter.vectors.search import (
    answer_moved,
    first_place_changed,
    means,
    measure,
    overlap,
    search,
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


@settings(deadline=None)
@given(
    arrays(np.float32, (5, 3), elements=st.floats(-1, 1, width=16)),
    arrays(np.float32, (40, 3), elements=st.floats(-1, 1, width=16)),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_search_is_a_full_sort_whatever_the_blocks(
    queries: np.ndarray, documents: np.ndarray, k: int, block: int
) -> None:
    queries[:, 0] += 2
    documents[:, 0] += 2
    queries, documents = (unit(rows.tolist()) for rows in (queries, documents))
    scores = (queries[:, None].astype(np.float64) * documents[None]).sum(axis=2)
    expected = [sorted(range(40), key=lambda d, row=row: (-row[d], d))[:k] for row in scores]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Rows.blocks, "__kwdefaults__", {"size": block})
        assert search(queries, documents, k=k).tolist() == expected


def test_scores_a_billionth_apart_are_told_apart_in_either_order() -> None:
    # 0.6, 0.6 + 1e-9, 0.6 - 1e-9: float32 rounds all three to the same score.
    near = np.array([[1.0, 0.0], [1.0, 1.25e-9], [1.0, -1.25e-9]], np.float32)
    query = np.array([[0.6, 0.8]], np.float32)
    assert len(set((query @ near.T)[0].tolist())) == 1
    assert search(query, near).tolist() == [[1, 0, 2]]
    assert search(query, near[::-1]).tolist() == [[1, 2, 0]]


def test_documents_that_get_better_and_better_need_no_more_memory() -> None:
    # Each beats all before it: the worst case for a running threshold.
    angle = np.linspace(1.5, 0.3, 20_000)
    documents = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    found = search(np.repeat(unit([[1, 0]]), 50, axis=0), documents)
    assert (found == np.arange(19_999, 19_989, -1)).all()


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(BadInput, match="queries has 3 dimensions, documents has 2"):
        search(unit([[1, 0, 0]]), unit([[1, 0]]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_row_without_a_direction_is_refused_by_its_number(value: float) -> None:
    documents = unit([[1, 0]] * 12)
    documents[11] = value
    with pytest.raises(BadInput, match="row 11 of documents is not finite or is zero"):
        search(unit([[1, 0]]), documents)
    with pytest.raises(BadInput, match="row 11 of queries"):
        search(documents, unit([[1, 0]]))


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
    assert overlap(a, b).tolist() == [1.0, 0.5]
    assert first_place_changed(a, b) == 1


def test_a_right_answer_that_moved_is_counted_also_where_it_left_the_list() -> None:
    assert answer_moved(np.array([1.0, 0.5, 0.1, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])) == 2
