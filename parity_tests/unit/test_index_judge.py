"""The verdict on a table without right answers: every limit closes its gate, and says so."""

from typing import Any

import numpy as np
import pytest

from exporter.corpus.questions import Questions
from exporter.manifest import Manifest
from exporter.recipe import bundled_recipe, read_recipe
from exporter.tables.judge import TableBaseline, reciprocal_ranks, total_verdict
from exporter.tables.judgement import IndexArtifact, OriginCheck, merged
from exporter.vectors.rows import as_rows
from parity_tests.conftest import LAWVAULT_PROMPTS

COUNT, DOCUMENTS = 600, 5000
RECIPE = read_recipe(bundled_recipe("default"))
LISTS = np.random.default_rng(0).permuted(np.tile(np.arange(DOCUMENTS), (COUNT, 1)), axis=1)[:, :10]
VECTORS = np.random.default_rng(1).standard_normal((COUNT, 16)).astype(np.float32)


def moved(count: int, *, to: int = 1) -> Any:
    """The truth's lists, with the first document of `count` questions at place `to` (from 0)."""
    lists = LISTS.copy()
    lists[:count, [0, to]] = lists[:count, [to, 0]]
    return lists


def judge(
    found: Any,
    *,
    used: Any = LISTS,
    vectors: Any = VECTORS,
    scheme: str = "int8",
    metrics: tuple[Any, ...] = ("l2", "cosine"),
    cosine_found: Any = None,
) -> IndexArtifact:
    names = tuple(f"q{i}" for i in range(COUNT))
    baseline = TableBaseline(
        Questions("q", names, names, "0"),
        RECIPE,
        [f"d{i}" for i in range(DOCUMENTS)],
        truth=as_rows(VECTORS),
        used=as_rows(VECTORS),
        found_truth={"l2": LISTS, "cosine": LISTS},
        found_used={"l2": used, "cosine": used},
        metrics=metrics,
    )
    manifest = Manifest.model_construct(
        name="onnx-x", format="onnx", scheme=scheme, entry="x", files=(), prompts=LAWVAULT_PROMPTS
    )
    return baseline.judge(
        as_rows(vectors),
        {"l2": found, "cosine": found if cosine_found is None else cosine_found},
        manifest=manifest,
        manifest_sha256="0",
    )


def test_the_same_lists_pass_with_everything_in_common() -> None:
    result = judge(LISTS)
    assert (result.verdict, result.reasons) == ("pass", ())
    assert result.searches[0].overlap_at_10.mean == result.searches[0].self_mrr_at_10 == 1
    assert [metrics for metrics, _ in merged(result.searches)] == ["l2, cosine"]


def test_torch_bf16s_own_noise_is_not_held_against_an_artifact() -> None:
    noisy = moved(8)
    assert judge(noisy, used=noisy).verdict == "pass"
    assert judge(LISTS, used=noisy).searches[0].difference.mean == pytest.approx(8 * 0.5 / COUNT)


def test_first_answers_that_move_beyond_the_margin_fail_and_near_it_are_undecided() -> None:
    far = judge(moved(120, to=5))
    assert far.verdict == "fail"
    assert "lies beyond mrr_at_10_margin 0.01" in far.reasons[0]
    assert "against torch bf16" in far.reasons[0]
    near = judge(moved(6))
    assert near.verdict == "undecided"
    assert "questions would decide" in near.reasons[0]


def test_lists_with_too_little_in_common_fail() -> None:
    lists = LISTS.copy()
    lists[:, 9] = DOCUMENTS + np.arange(COUNT)
    result = judge(lists)
    assert result.reasons == ("overlap@10 0.9000 is under overlap_at_10_min 0.975",)


def test_vectors_too_far_from_fp32_fail_whatever_they_find() -> None:
    result = judge(LISTS, vectors=-VECTORS)
    assert result.verdict == "fail"
    assert "another function" in result.reasons[0]


def test_only_the_metrics_asked_for_are_judged_and_a_reason_names_its_metric() -> None:
    bad = moved(40, to=5)
    assert judge(LISTS, cosine_found=bad, metrics=("l2",)).verdict == "pass"
    both = judge(LISTS, cosine_found=bad)
    assert both.verdict == "fail"
    assert both.reasons[0].startswith("cosine: self-MRR@10")


def test_changed_first_answers_are_listed_with_where_the_former_went() -> None:
    lists = moved(2, to=3)
    lists[0] = DOCUMENTS - 1 - np.arange(10)
    assert LISTS[0, 0] not in lists[0]
    changed = judge(lists).searches[0].changed
    assert [(c.id, c.reference_rank) for c in changed] == [("q0", None), ("q1", 4)]
    assert judge(lists).searches[0].rank_flips.first_place == ((0, 0, 2), (0, 0, 2), (2, 2, 0))


def test_reciprocal_ranks_are_zero_for_an_answer_that_is_not_there() -> None:
    found = np.array([[3, 1], [2, 5], [4, 6]])
    assert reciprocal_ranks(found, np.array([3, 5, 9])).tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("status", "lists", "verdict"),
    [
        ("verified", LISTS, "pass"),
        ("unverified", LISTS, "unverified origin"),
        ("refuted", LISTS, "fail"),
        ("unverified", moved(6), "undecided"),
        ("unverified", moved(40, to=5), "fail"),
    ],
)
def test_the_origin_of_the_table_comes_before_what_is_found_in_it(
    status: Any, lists: Any, verdict: str
) -> None:
    reasons = () if status == "verified" else ("its origin",)
    origin = OriginCheck(
        status=status,
        reasons=reasons,
        metadata=None,
        rows=0,
        cosine=None,
        noise=None,
        document_prompt="{text}",
        limit=0.9,
        stripped=0,
    )
    found, why = total_verdict(origin, [judge(lists)])
    assert found == verdict
    assert why[: len(reasons)] == reasons
