"""Cosines, worst texts, token ids."""

import numpy as np
import pytest

from exporter.errors import BadInput
from exporter.parity.compare import (
    count_errors,
    first_token_difference,
    row_cosines,
    summarize_cosines,
)


def test_the_cosine_does_not_depend_on_the_length_of_a_row() -> None:
    a = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    b = np.array([[4.0, 3.0], [-1e-3, 0.0]], np.float32)
    assert row_cosines(a, b) == pytest.approx([0.96, -1.0], abs=1e-7)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_row_without_a_direction_has_no_cosine(value: float) -> None:
    a = np.array([[1.0, 1.0], [value, value]], np.float32)
    with pytest.raises(BadInput, match="row 1 of the first is not finite or is zero"):
        row_cosines(a, np.ones_like(a))
    with pytest.raises(BadInput, match="row 1 of the second"):
        row_cosines(np.ones_like(a), a)


def test_a_cosine_is_taken_in_float64() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((50, 768)).astype(np.float32)
    assert np.abs(row_cosines(a, a) - 1).max() < 1e-14


def test_vectors_of_another_shape_are_a_defect() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        row_cosines(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))


def test_the_summary_names_the_worst_texts_first() -> None:
    cosines = np.linspace(0.0, 1.0, 101)[::-1]
    texts, ids = [f"text {i}" for i in range(101)], [f"d{i}" for i in range(101)]
    summary = summarize_cosines(cosines, texts, ids=ids, kinds=["document"] * len(ids), worst=2)
    assert (summary.minimum, summary.median) == (0.0, 0.5)
    assert summary.p1 == pytest.approx(0.01)
    assert summary.mean == pytest.approx(0.5)
    assert [(w.id, w.text) for w in summary.worst] == [("d100", "text 100"), ("d99", "text 99")]


def test_equal_token_ids_have_no_difference() -> None:
    assert first_token_difference([[2, 5, 1]], [[2, 5, 1]], ["x"]) == (0, None)


def test_the_first_token_difference_is_named_with_its_place_and_text() -> None:
    ours, theirs = [[2, 5, 1], [2, 6, 7, 1], [2, 8]], [[2, 5, 1], [2, 6, 9, 1], [2, 8, 1]]
    count, line = first_token_difference(ours, theirs, ["一", "二", "三"])
    assert count == 2
    assert line is not None
    assert "position 2 is [7] instead of [9]" in line
    assert "二" in line


def test_a_dropped_end_token_is_a_difference_at_its_place() -> None:
    count, line = first_token_difference([[2, 8]], [[2, 8, 1]], ["三"])
    assert count == 1
    assert line is not None
    assert "position 2 is [] instead of [1]" in line


def test_errors_are_counted_by_quarters_of_a_decade_and_none_is_lost() -> None:
    errors = np.array([0.0, 1e-12, 1.1e-9, 1.2e-3, 0.7, 2.0])
    found = count_errors(1 - errors)
    starts = [10 ** (found.low_exponent + i / found.per_decade) for i in range(len(found.counts))]
    assert sum(found.counts) == len(errors)
    assert found.counts[0] == 3
    at = next(i for i, n in enumerate(found.counts) if n == 1)
    assert starts[at] <= 1.2e-3 < starts[at + 1]
    assert found.counts[-1] == 2
