"""Runs on a pool against runs on the whole corpus, and what the reports say of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.formats.open import artifact_source
from exporter.packages.verdict import verdict_of
from exporter.parity import pool_plan, pool_time
from exporter.parity.pool_plan import choose_chooser, minutes
from exporter.parity.pool_time import EncodingSpeed
from exporter.parity.results import ParityReport
from exporter.parity.run import run_parity
from exporter.progress import silent
from exporter.recipe import Recipe, read_recipe
from exporter.report.html import render_html
from exporter.report.markdown import render_markdown
from exporter.runtimes.encoder import Source
from exporter.runtimes.original import open_original
from parity_tests.conftest import BUNDLED_CORPUS, LAWVAULT_PROMPTS, MINIATURE, REPOSITORY
from parity_tests.unit.test_parity_report import Bench, as_source, noisy

pytest.importorskip("sentence_transformers")


def with_pool(recipe: Recipe, pool: int | None) -> Recipe:
    return recipe.model_copy(update={"pool": pool})


def agree(pooled: ParityReport, whole: ParityReport) -> None:
    """Assert that nothing of the whole lies outside what the pool said of it."""
    assert whole.pool is None
    assert pooled.pool is not None
    assert pooled.pool.documents < whole.documents == pooled.documents
    for ours, full in zip(pooled.artifacts[0].dims, whole.artifacts[0].dims, strict=True):
        for way, all_of in zip(ours.deployments, full.deployments, strict=True):
            assert way.missed is not None
            assert all_of.missed is None
            # No document outside can push a right answer up; none pushed one down by more.
            fell = way.metrics.mrr_at_10 - all_of.metrics.mrr_at_10
            assert -1e-9 <= fell <= way.missed.mrr_at_10 + 1e-9
            for name in ("mrr_at_10", "hit_at_10", "top_1", "ndcg_at_10"):
                found, known = (getattr(d.differences, name) for d in (way, all_of))
                assert found.low - 1e-9 <= known.mean <= found.high + 1e-9
            shared = way.overlap_at_10.mean - all_of.overlap_at_10.mean
            assert abs(shared) <= way.missed.overlap_at_10 + 1e-9


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def whole(bench: Bench) -> ParityReport:
    recipe = with_pool(bench.recipe, 0)
    return bench.run(bench.candidate(noisy(0.3)), artifacts=[bench.artifact], recipe=recipe)


@pytest.fixture(scope="module")
def pooled(bench: Bench) -> ParityReport:
    return run_pooled(bench, 1)


def run_pooled(bench: Bench, pool: int | None, *, sample: int = 5) -> ParityReport:
    return bench.run(
        bench.candidate(noisy(0.3)),
        artifacts=[bench.artifact],
        recipe=with_pool(bench.recipe, pool),
        pool_sample=sample,
    )


def test_the_whole_corpus_lies_within_the_intervals_of_its_pool(
    pooled: ParityReport, whole: ParityReport
) -> None:
    agree(pooled, whole)


def test_only_the_pool_is_embedded_by_all_and_the_whole_by_the_chooser(bench: Bench) -> None:
    report = run_pooled(bench, 1)
    assert report.pool is not None
    embedded = [(label, total) for label, total, _ in bench.stages]
    assert embedded[0] == ("bfloat16", 89)  # 59 distinct documents and 30 questions
    less = 30 + report.pool.documents
    assert all(total in (less, less - 1) for label, total in embedded[1:4]), embedded
    assert embedded[2][0] == "bfloat16, kept from before"


def test_without_a_sample_a_pool_passes_nothing_and_says_why(bench: Bench) -> None:
    report = run_pooled(bench, 1, sample=0)
    result = report.artifacts[0]
    both = result.dims[0].deployed("both")
    assert both.missed is not None
    assert both.missed.mrr_at_10 == both.metrics.mrr_at_10
    assert both.differences.mrr_at_10.low < both.differences.mrr_at_10.mean - both.metrics.mrr_at_10
    assert result.verdict != "pass"
    assert any("that the pool may miss" in reason for reason in result.reasons)
    text = " ".join(render_markdown(report).split())
    assert "no random sample, so that nothing bounds what the pool may miss" in text


def test_every_page_says_pooled_and_a_whole_run_says_nothing_of_it(
    bench: Bench, pooled: ParityReport, whole: ParityReport
) -> None:
    assert pooled.pool is not None
    size = f"{pooled.pool.documents} of 60 documents"
    text, page = render_markdown(pooled), render_html(pooled)
    assert f"a pool of {size}" in text
    assert "What lies outside the pool can change at most:" in text
    assert f"a pool of {size}" in page
    assert "bfloat16, which has read them all" in page
    assert verdict_of(bench.artifact, pooled).pooled == f"pooled: {size}"
    assert ParityReport.model_validate_json(pooled.model_dump_json()) == pooled
    for quiet in (render_markdown(whole), render_html(whole)):
        assert "ooled" not in quiet
        assert "a pool of" not in quiet
    assert verdict_of(bench.artifact, whole).pooled is None


@pytest.mark.parametrize(("first", "sample"), [(1000, 5), (1, 1000)])
def test_a_pool_that_holds_everything_is_the_whole_and_says_so(
    bench: Bench, whole: ParityReport, first: int, sample: int
) -> None:
    assert run_pooled(bench, first, sample=sample) == whole
    assert bench.told == [
        "pooled: the pool would hold every document, so the corpus is judged whole"
    ]


def test_a_short_run_times_nothing_and_is_whole(
    bench: Bench, whole: ParityReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_plan, "measure_speeds", lambda *_, **__: pytest.fail("timed"))
    assert run_pooled(bench, None) == whole
    assert bench.told == []


def test_a_long_run_is_pooled_by_itself_and_says_what_the_whole_would_take(
    bench: Bench, whole: ParityReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_time, "SLOWEST", 1.0)
    assert run_pooled(bench, None) == whole  # timed, and found to be short
    assert bench.stages[0][0] == "timing"
    monkeypatch.setattr(pool_plan, "WORTH_POOLING", 0.0)
    monkeypatch.setattr(pool_plan, "DEFAULT_FIRST", 1)
    report = run_pooled(bench, None)
    assert report.pool is not None
    assert (report.pool.first, report.pool.drawn) == (1, 5)
    assert bench.told[0] == (
        "pooled: the whole corpus would take about 1 minute here; --pool 0 embeds it all"
    )
    assert bench.told[1].startswith(f"pooled: {report.pool.documents} of 60 documents: the first 1")
    assert bench.told[1].endswith("5 at random; about 1 minute from here")
    assert run_pooled(bench, 0) == whole


def test_an_artifact_that_is_another_function_is_not_trusted_to_choose(
    bench: Bench, tmp_path: Path
) -> None:
    from exporter.runtimes.original import CheckpointTokens

    sound, other = bench.candidate(), bench.candidate(lambda v: v[:, ::-1].copy())
    cut = bench.candidate(tokens=lambda row: row[:-1])
    speeds = pool_time.measure_speeds(
        as_source(bench.references["bfloat16"]),
        [as_source(encoder) for encoder in (sound, other, cut)],
        list(bench.corpus.texts),
        tokens=CheckpointTokens(bench.checkpoint),
        cache=tmp_path,
        stages=silent,
    )
    assert [speed.trusted for speed in speeds] == [True, True, False, False]
    assert all(speed.seconds > 0 for speed in speeds)


def test_an_artifact_chooses_only_where_it_is_trusted_and_takes_half_the_time() -> None:
    original = open_original(read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS), device="cpu")
    ours = Source("onnx-int8", 256, {}, original.used.open)

    def chosen(used: float, artifact: float, *, trusted: bool = True) -> Source:
        speeds = [
            EncodingSpeed(original.used, 1.0, used, trusted=True),
            EncodingSpeed(original.truth, 1.0, 0.0, trusted=True),
            EncodingSpeed(ours, 1.0, artifact, trusted=trusted),
        ]
        return choose_chooser(speeds, original=original, sources=[ours])

    assert chosen(100, 49) is ours
    assert chosen(100, 51) is original.used
    assert chosen(100, 1, trusted=False) is original.used
    assert chosen(0, 0) is original.used
    assert choose_chooser([], original=original, sources=[ours]) is original.used


def test_minutes_are_said_as_people_do() -> None:
    said = [minutes(seconds) for seconds in (1, 89, 3840, 90_000)]
    assert said == ["1 minute", "1 minute", "64 minutes", "1,500 minutes"]


@pytest.mark.slow
def test_the_miniature_on_the_bundled_corpus_agrees_with_its_pool(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from exporter.formats.onnx.export import export_onnx

    checkpoint, every = (
        read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS),
        read_corpus(BUNDLED_CORPUS),
    )
    asked = every.query_ids[::8]  # with all of them, every article is an answer and in the pool
    corpus = replace(
        every,
        query_ids=asked,
        queries=every.queries[::8],
        qrels={name: every.qrels[name] for name in asked},
    )
    recipe = read_recipe(REPOSITORY / "recipes" / "lawvault.toml")
    artifact = tmp_path / "artifact"
    export_onnx(checkpoint, artifact, scheme="q4")

    def run(pool: int) -> ParityReport:
        return run_parity(
            [artifact],
            original=open_original(checkpoint, device="cpu"),
            corpus=corpus,
            recipe=with_pool(recipe, pool),
            artifact_source=artifact_source,
            stages=silent,
            dims=[256, 64],
            cache=tmp_path / "vectors",
            pool_sample=60,
        )

    whole = run(0)
    for first in (1, 3, 5):
        agree(run(first), whole)
