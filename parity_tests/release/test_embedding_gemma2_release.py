"""EmbeddingGemma 2 the whole way, in an environment whose transformers knows it: judged, packaged,
and a graph that scales attention's scores refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

from exporter.architectures.embedding_gemma2.family import FAMILY
from exporter.architectures.steps import Attend
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.errors import BadInput
from exporter.formats.onnx.export import export_onnx
from exporter.formats.openvino.export import export_openvino
from exporter.manifest import read_manifest
from exporter.packages.sentence_transformers.packager import check_sentence_transformers
from exporter.packages.verify import verify_package
from parity_tests.runtimes.test_embedding_gemma2 import make
from parity_tests.second import run_second

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(make(tmp_path_factory.mktemp("eg2") / "tiny"))


@pytest.fixture(scope="module")
def sound(tiny: Checkpoint) -> Path:
    folder = tiny.path.parent / "sound"
    export_onnx(tiny, folder, flavour="web")
    return folder


@pytest.fixture(scope="module")
def report(tiny: Checkpoint, sound: Path, tiny_corpus: Path) -> Path:
    """The report of sound files, ONNX and OpenVINO, and of a graph with scaled scores."""
    pytest.importorskip("openvino")
    folder = tiny.path.parent
    export_openvino(tiny, folder / "openvino")
    right = FAMILY.layer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            FAMILY,
            "layer",
            lambda a, i: tuple(
                replace(s, scale=s.head_dim**-0.5) if isinstance(s, Attend) else s
                for s in right(a, i)
            ),
        )
        export_onnx(tiny, folder / "scaled")
    artifacts = [sound, folder / "openvino", folder / "scaled"]
    named = ["--checkpoint", tiny.path, "--corpus", tiny_corpus, "--output", folder / "report"]
    ran = run_second("exporter", "parity", *artifacts, *named, "--quiet")
    assert ran.returncode == 1, ran.stderr
    return folder / "report" / "parity.json"


def test_sound_files_pass_and_scaled_scores_close_the_gate(report: Path) -> None:
    found = json.loads(report.read_text("utf-8"))["artifacts"]
    verdicts = [artifact["verdict"] for artifact in found]
    assert verdicts == ["pass", "pass", "fail"], [a["reasons"] for a in found]
    assert found[0]["dims"][0]["cosine"]["minimum"] > 0.999999


@pytest.mark.parametrize("consumer", ["onnxruntime", "openvino"])
def test_a_package_gives_its_golden_vectors(
    tiny: Checkpoint, sound: Path, report: Path, tmp_path: Path, consumer: str
) -> None:
    artifact = sound if consumer == "onnxruntime" else sound.parent / "openvino"
    named = ["--checkpoint", tiny.path, "--report", report, "--output", tmp_path / "p"]
    ran = run_second("exporter", "package", consumer, artifact, *named)
    assert ran.returncode == 0, ran.stderr
    found = verify_package(tmp_path / "p")
    assert found.verdict == "pass", found.checks


def test_browsers_give_its_golden_vectors(
    tiny: Checkpoint, sound: Path, report: Path, npm: Path, tmp_path: Path
) -> None:
    named = ["--checkpoint", tiny.path, "--report", report, "--output", tmp_path / "p"]
    ran = run_second("exporter", "package", "transformersjs", sound, *named)
    assert ran.returncode == 0, ran.stderr
    found = verify_package(tmp_path / "p", settings={"node_modules": npm})
    assert found.verdict == "pass", found.checks


def test_sentence_transformers_has_no_onnx_backend_for_it(sound: Path) -> None:
    with pytest.raises(BadInput, match=r"optimum-onnx.*package it for onnxruntime"):
        check_sentence_transformers([sound], [read_manifest(sound)], {})
