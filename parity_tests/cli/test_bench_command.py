import json
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

from exporter.checkpoint.read import read_checkpoint
from exporter.cli.main import main
from exporter.errors import BadInput
from exporter.formats.onnx.export import export_onnx
from exporter.release.bench import SHAPES, run_bench


@pytest.fixture(scope="module")
def artifact(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "onnx-fp32"
    export_onnx(read_checkpoint(tiny_path), folder)
    return folder


def test_artifacts_are_timed_side_by_side(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "bench",
                str(artifact),
                str(artifact),
                "--rounds",
                "2",
                "--threads",
                "1",
                "--json",
                "--output",
                str(tmp_path / "bench.json"),
            ]
        )
    assert ended.value.code == 0
    shown = capsys.readouterr()
    report = json.loads(shown.out)
    assert json.loads((tmp_path / "bench.json").read_text("utf-8")) == report
    assert "loading" in shown.err
    assert len(report["results"]) == 2
    for result in report["results"]:
        assert result["peak_memory_bytes"] > 10e6
        assert 0 < result["load_seconds"] < 60
        assert [(t["texts"], t["tokens"]) for t in result["timings"]] == list(SHAPES)
        for timing in result["timings"]:
            tokens = timing["tokens_per_second"] * timing["milliseconds"] / 1e3
            # The tiny model cuts at 64 tokens.
            full = timing["texts"] * min(64, timing["tokens"])
            assert 0.8 * full <= tokens <= 1.01 * full


def test_what_cannot_be_timed_is_refused(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match="--rounds 0"):
        run_bench([artifact], rounds=0)
    with pytest.raises(SystemExit) as ended:
        main(["bench", str(tmp_path / "nothing")])
    assert ended.value.code == 2
    assert "nothing" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux hands peaks on")
def test_peak_memory_is_not_that_of_the_process_that_asks(artifact: Path) -> None:
    ballast = bytearray(600_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    result = run_bench([artifact], rounds=1, threads=1).results[0]
    assert 10e6 < result.peak_memory_bytes < len(ballast)
