"""One release that the tests of this folder read."""

from pathlib import Path

import pytest

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.packages.assemble import Judged
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE
from parity_tests.npm import install_transformers
from parity_tests.packaging import judged_onnx, package_transformersjs
from parity_tests.publishing import with_card


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


@pytest.fixture
def release(released: Path, tiny_path: Path, tmp_path: Path) -> Path:
    """That release with its card, and a licence in it, to be published."""
    return with_card(released, tiny_path, tmp_path / "release")


@pytest.fixture(scope="session")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose node_modules holds transformers.js."""
    return install_transformers(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="session")
def miniature() -> Checkpoint:
    return read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)


@pytest.fixture(scope="session")
def web_artifacts(miniature: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> list[Judged]:
    """The miniature for browsers in float32, int8 and float16."""
    folder = tmp_path_factory.mktemp("web")
    quants = ("fp32", "int8", "fp16")
    return [judged_onnx(miniature, folder / quant, quant=quant) for quant in quants]


@pytest.fixture(scope="session")
def web_package(
    web_artifacts: list[Judged],
    miniature: Checkpoint,
    npm: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Those three in a package for transformers.js, with its page."""
    output = tmp_path_factory.mktemp("transformersjs") / "p"
    return package_transformersjs(web_artifacts, output, checkpoint=miniature, npm=npm)


@pytest.fixture(scope="session")
def portable_artifacts(
    miniature: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> list[Judged]:
    """The miniature for ONNX Runtime in float32 and int8."""
    folder = tmp_path_factory.mktemp("portable")
    return [
        judged_onnx(miniature, folder / quant, quant=quant, flavour="portable")
        for quant in ("fp32", "int8")
    ]
