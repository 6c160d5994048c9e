"""One release that the tests of this folder read."""

from pathlib import Path

import pytest

from exporter.checkpoint.records import Checkpoint


@pytest.fixture(scope="session")
def released(tiny: Checkpoint, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("llama_cpp")
    pytest.importorskip("onnxruntime")
    from parity_tests.release.small_release import release

    output = tmp_path_factory.mktemp("release") / "out"
    outcome, _ = release(tiny, tiny_corpus, output)
    assert outcome.closed == ()
    assert outcome.report.verdict == "pass"
    return output
