"""A release that became worse than the last one is stopped; noise stops nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sentence_transformers")

from exporter.cli.main import main
from exporter.errors import BadInput
from exporter.parity.against_baseline import against_baseline
from exporter.parity.measured import Interval
from exporter.parity.results import ParityReport
from exporter.report.regression import render_regression
from exporter.report.write import write_report
from parity_tests.unit.test_parity_report import Bench, loosened, noisy


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("regression"))


@pytest.fixture(scope="module")
def coarse(bench: Bench) -> ParityReport:
    """An artifact with an error of several of bf16's."""
    return bench.run(bench.candidate(noisy(0.02)), recipe=loosened(bench.recipe))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_the_same_release_again_is_no_worse(coarse: ParityReport) -> None:
    found = against_baseline(coarse, coarse)
    assert not found.closed
    assert found.same_checkpoint
    measures = {change.measure for change in found.changes}
    assert measures == {
        "verdict",
        "error",
        "error p99",
        "overlap@10",
        "MRR@10",
        "MRR@10, old index",
    }
    text = render_regression(found)
    assert text.startswith("**no worse** than the last release: onnx-fp32 compared.")
    assert "**worse**" not in text


def test_other_kernels_rounding_is_noise(bench: Bench, coarse: ParityReport) -> None:
    again = bench.run(bench.candidate(noisy(0.0205)), recipe=loosened(bench.recipe))
    assert not against_baseline(again, coarse).closed


def test_a_larger_error_closes_the_gate_though_it_passes(
    bench: Bench, coarse: ParityReport
) -> None:
    grown = bench.run(bench.candidate(noisy(0.04)), recipe=loosened(bench.recipe))
    found = against_baseline(grown, coarse)
    assert found.closed
    assert {"error", "error p99"} <= {change.measure for change in found.worse}
    assert render_regression(found).startswith("**worse** than the last release: onnx-fp32's error")
    assert not against_baseline(coarse, grown).worse  # better is not worse


def test_lost_neighbours_and_a_lost_verdict_close_the_gate(
    bench: Bench, coarse: ParityReport
) -> None:
    lost = bench.run(bench.candidate(noisy(30.0)))
    worse = {change.measure for change in against_baseline(lost, coarse).worse}
    assert {"verdict", "overlap@10"} <= worse


@pytest.mark.parametrize(("half", "closed"), [(0.02, True), (0.2, False)])
def test_lost_answers_close_the_gate_beyond_their_interval(
    coarse: ParityReport, half: float, closed: bool
) -> None:
    def with_difference(mean: float) -> ParityReport:
        found = coarse.model_copy(deep=True)
        for deployment in found.artifacts[0].dims[0].deployments:
            interval = Interval(mean=mean, low=mean - half, high=mean + half)
            differences = deployment.differences.model_copy(update={"mrr_at_10": interval})
            vars(deployment)["differences"] = differences
        return found

    change = against_baseline(with_difference(-0.1), with_difference(0.0))
    assert {found.measure for found in change.worse} == (
        {"MRR@10", "MRR@10, old index"} if closed else set()
    )


def test_an_artifact_that_is_gone_closes_the_gate(coarse: ParityReport) -> None:
    none = coarse.model_copy(update={"artifacts": ()})
    found = against_baseline(none, coarse)
    assert (found.gone, found.closed) == (("onnx-fp32",), True)
    assert "onnx-fp32 is gone" in render_regression(found)
    found = against_baseline(coarse, none)
    assert (found.added, found.closed) == (("onnx-fp32",), False)
    failed = coarse.artifacts[0].model_copy(update={"verdict": "fail"})
    before = coarse.model_copy(update={"artifacts": (failed,)})
    assert not against_baseline(none, before).closed  # what failed may go


def test_other_questions_do_not_compare(coarse: ParityReport) -> None:
    other = coarse.model_copy(update={"corpus_sha256": "0" * 64})
    with pytest.raises(BadInput, match="figures on other questions do not compare"):
        against_baseline(coarse, other)


def test_the_command_writes_a_table_and_closes(
    bench: Bench, coarse: ParityReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grown = bench.run(bench.candidate(noisy(0.04)), recipe=loosened(bench.recipe))
    for name, report in (("old", coarse), ("new", grown)):
        write_report(tmp_path / name, report)
    old, new = tmp_path / "old" / "parity.json", tmp_path / "new" / "parity.json"
    table = tmp_path / "table.md"
    assert run("gate", new, "--baseline", old, "--markdown", table) == 1
    assert capsys.readouterr().out == table.read_text("utf-8")
    assert run("gate", new, "--baseline", old, "--json") == 1
    data: Any = json.loads(capsys.readouterr().out)
    assert data["same_checkpoint"] is True
    assert run("gate", old, "--baseline", new) == 0
    assert run("gate", new) == 0
    assert "**pass**" in capsys.readouterr().out
    write_report(tmp_path / "failed", bench.run(bench.candidate(noisy(3.0))))
    assert run("gate", tmp_path / "failed" / "parity.json", "--markdown", table) == 1
    assert table.read_text("utf-8").startswith("**fail**")
    assert run("gate", tmp_path / "none.json") == 2
