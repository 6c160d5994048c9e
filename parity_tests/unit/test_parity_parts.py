import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exporter.errors import BadInput
from exporter.parity.compare import first_token_difference, row_cosines, summarize_cosines
from exporter.parity.corpus import read_corpus
from exporter.parity.judge import judge_dim, worst_verdict
from exporter.parity.records import Difference
from exporter.parity.retrieval import means, measure, overlap, search
from exporter.parity.statistics import non_inferiority, paired_difference, questions_to_decide
from exporter.recipe import Limits, read_recipe
from parity_tests.conftest import REPOSITORY, write_corpus

LIMITS = Limits(cosine_p1_min=0.99, overlap_at_10_min=0.9, mrr_at_10_margin=0.01)
NONE = Difference(mean=0, low=0, high=0)


def test_metrics_of_a_case_worked_by_hand() -> None:
    # Right documents stand at rank 1, rank 4, and nowhere: MRR (1 + 1/4 + 0) / 3.
    found = np.array([[0, 1, 2, 3], [1, 2, 3, 0], [1, 2, 3, 4]])
    values = measure(
        found, doc_ids=["a", "b", "c", "d", "e"], query_ids=["x", "y", "z"],
        qrels={"x": {"a": 1}, "y": {"a": 1}, "z": {"a": 1}},
    )  # fmt: skip
    metrics = means(values)
    assert metrics.mrr_at_10 == pytest.approx(1.25 / 3)
    assert metrics.hit_at_10 == pytest.approx(2 / 3)
    assert metrics.top_1 == pytest.approx(1 / 3)
    assert metrics.ndcg_at_10 == pytest.approx((1 + 1 / math.log2(5)) / 3)


def test_ties_go_to_the_smaller_id_and_near_ties_to_the_score() -> None:
    documents = np.array([[0.5, 0], [0.5, 0], [0.5 + 1e-7, 0], [0.1, 0]], np.float32)
    assert search(np.array([[1.0, 0]], np.float32), documents, k=3).tolist() == [[2, 0, 1]]


@given(
    arrays(np.float32, (5, 3), elements=st.floats(-1, 1, width=16)),
    arrays(np.float32, (40, 3), elements=st.floats(-1, 1, width=16)),
    st.integers(1, 40),
)
def test_search_is_a_full_sort(queries: np.ndarray, documents: np.ndarray, k: int) -> None:
    scores = queries @ documents.T
    expected = [sorted(range(40), key=lambda d: (-row[d], d))[:k] for row in scores]
    assert search(queries, documents, k=k).tolist() == expected


def test_cosines_ignore_length_and_find_the_worst_text() -> None:
    a = np.array([[1, 0], [3, 4], [0, 2]], np.float32)
    b = np.array([[2, 0], [3, 4], [1, 1]], np.float32)
    cosines = row_cosines(a, b)
    assert cosines == pytest.approx([1, 1, math.sqrt(0.5)])
    summary = summarize_cosines(cosines, ["x", "y", "z"], worst=1)
    assert summary.worst[0].text == "z"
    assert summary.minimum == pytest.approx(math.sqrt(0.5))


def test_the_first_different_token_is_named() -> None:
    count, line = first_token_difference([[2, 5, 1], [2, 7]], [[2, 5, 1], [2, 7, 1]], ["a", "b"])
    assert count == 1
    assert line is not None
    assert "position 2 is [] instead of [1] in 'b'" in line
    assert first_token_difference([[1]], [[1]], ["a"]) == (0, None)


def test_overlap_counts_shared_documents() -> None:
    assert overlap(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [3, 5]])) == pytest.approx(0.75)


def test_the_bootstrap_interval_covers_a_known_difference() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.random(400)
    ours = theirs + rng.normal(0.05, 0.1, 400)
    difference = paired_difference(ours, theirs, resamples=2000, seed=1)
    assert difference.low < 0.05 < difference.high
    # Normal theory: 1.96 * 0.1 / sqrt(400) to each side.
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.2)
    assert difference == paired_difference(ours, theirs, resamples=2000, seed=1)
    assert paired_difference(theirs, theirs, resamples=2000, seed=1) == NONE


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.009, 0.02, "pass"), (-0.02, 0.0, "undecided"), (-0.05, -0.011, "fail")],
)
def test_non_inferiority_has_three_verdicts(low: float, high: float, verdict: str) -> None:
    difference = Difference(mean=(low + high) / 2, low=low, high=high)
    assert non_inferiority(difference, margin=0.01) == verdict


def test_undecided_says_how_many_questions_would_decide() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.random(50)
    ours = theirs + rng.normal(0, 0.1, 50)
    needed = questions_to_decide(ours, theirs, margin=0.05)
    assert needed is not None
    spread = float((ours - theirs).std(ddof=1))
    room = float((ours - theirs).mean()) + 0.05
    assert needed == math.ceil((1.959964 * spread / room) ** 2)
    assert questions_to_decide(theirs - 0.2, theirs, margin=0.05) is None


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({}, "pass", None),
        ({"cosine_p1": 0.98}, "fail", "cosine_p1_min 0.99"),
        ({"overlap_at_10": 0.8}, "fail", "overlap_at_10_min 0.9"),
        ({"tokens_differ": 3}, "fail", "token ids differ"),
        (
            {"difference": Difference(mean=-0.1, low=-0.2, high=-0.05)},
            "fail",
            "mrr_at_10_margin 0.01",
        ),
        (
            {"difference": Difference(mean=0, low=-0.02, high=0.02)},
            "undecided",
            "about 321 questions would decide",
        ),
    ],
)
def test_every_limit_closes_the_gate(
    change: dict[str, object], verdict: str, reason: str | None
) -> None:
    values: dict[str, object] = {
        "cosine_p1": 0.999, "overlap_at_10": 0.95, "difference": NONE, "tokens_differ": 0,
        "limits": LIMITS, "needed": 321, **change,
    }  # fmt: skip
    found, reasons = judge_dim(**values)  # type: ignore[arg-type]
    assert found == verdict
    assert (reason is None and not reasons) or reason in reasons[0]  # type: ignore[operator]


def test_the_worst_verdict_wins() -> None:
    assert worst_verdict(["pass", "undecided", "fail"]) == "fail"
    assert worst_verdict(["pass", "undecided"]) == "undecided"
    assert worst_verdict(["pass"]) == "pass"


DOCUMENTS = [("d1", "t", "文"), ("d2", "t", "字")]
QUERIES = [("q1", "问")]
QRELS = [("q1", "d1", "1")]


def test_a_sound_corpus_is_read_in_order_of_ids(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "c", documents=DOCUMENTS[::-1], queries=QUERIES, qrels=QRELS)
    corpus = read_corpus(folder)
    assert corpus.doc_ids == ("d1", "d2")
    assert corpus.qrels == {"q1": {"d1": 1}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"documents": [*DOCUMENTS, ("d1", "t", "again")]}, "line 3 repeats the id 'd1' of line 1"),
        ({"qrels": [("q1", "d9", "1")]}, "line 2 names the document 'd9'"),
        ({"qrels": [("q9", "d1", "1")]}, "line 2 names the query 'q9'"),
        ({"qrels": [("q1", "d1", "x")]}, "score 'x', not a whole number"),
        ({"documents": [("d1", "t", " 　")]}, r"line 1 \('d1'\) has an empty text"),
        ({"queries": [*QUERIES, ("q2", "问")]}, "'q2' .* has no right document"),
        ({"queries": []}, "is empty"),
    ],
)
def test_a_wrong_corpus_is_refused(
    tmp_path: Path, change: dict[str, list[tuple[str, ...]]], expected: str
) -> None:
    parts = {"documents": DOCUMENTS, "queries": QUERIES, "qrels": QRELS, **change}
    folder = write_corpus(tmp_path / "c", **parts)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=expected):
        read_corpus(folder)


def test_invalid_utf8_and_broken_json_name_the_line(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "c", documents=DOCUMENTS, queries=QUERIES, qrels=QRELS)
    path = folder / "corpus.jsonl"
    sound = path.read_bytes()
    path.write_bytes(sound + b'{"_id": "d3", "text": "\xff"}\n')
    with pytest.raises(BadInput, match="line 3 is not valid UTF-8"):
        read_corpus(folder)
    path.write_bytes(sound + b"{\n")
    with pytest.raises(BadInput, match="line 3 is not valid JSON"):
        read_corpus(folder)
    with pytest.raises(BadInput, match="no such corpus folder"):
        read_corpus(tmp_path / "nowhere")


def test_the_bundled_recipe_is_valid() -> None:
    recipe = read_recipe(REPOSITORY / "recipes" / "lawvault.toml")
    assert recipe.limits_for("q8_0").mrr_at_10_margin == 0.01


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("window =", "windw =", "windw: unknown key; did you mean 'window'"),
        ("cosine_p1_min = 0.995", 'cosine_p1_min = "high"', "limits.8bit.cosine_p1_min"),
        ("mrr_at_10_margin = 0.02", "mrr_at_10_margin = 0.05", "give limits.4bit.reason"),
        ('scheme = "int8"', 'scheme = "int7"', "'int7' is unknown"),
        ("schema_version = 1", "schema_version = 9", "schema_version"),
        ("[prompts]", "[prompts", "not valid TOML"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = (REPOSITORY / "recipes" / "lawvault.toml").read_text(encoding="utf-8")
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadInput) as raised:
        read_recipe(path)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)
