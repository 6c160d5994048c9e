"""Packages of a BERT that takes its first token: every consumer is told so, and proves it."""

import json
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.formats.openvino.export import export_openvino
from exporter.formats.openvino.runtime import OpenVinoEncoder
from exporter.packages.assemble import Judged
from exporter.packages.verify import verify_package
from parity_tests.packaging import (
    PASS,
    evidence_of,
    judged_onnx,
    package_onnx,
    package_transformersjs,
    seal,
)
from parity_tests.tiny_bert import make_tiny_bert


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def checkpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    folder = tmp_path_factory.mktemp("packages") / request.param
    # Twelve heads, as most BERTs have: more than the buffers of a WebGPU shader.
    made = make_tiny_bert(
        folder, kind=request.param, pooling="cls", layers=2, hidden=96, heads=12, intermediate=128
    )
    return read_checkpoint(made)


@pytest.mark.parametrize("consumer", ["onnxruntime", "sentence-transformers"])
def test_a_package_gives_its_golden_vectors(
    checkpoint: Checkpoint, tmp_path: Path, consumer: str
) -> None:
    judged = judged_onnx(checkpoint, tmp_path / "a", quant="fp32", flavour="portable")
    package = package_onnx(consumer, [judged], tmp_path / "p", checkpoint=checkpoint)
    report = verify_package(package)
    assert report.verdict == "pass", report.checks


def test_sentence_transformers_told_to_take_the_mean_is_caught(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    judged = judged_onnx(checkpoint, tmp_path / "a", quant="fp32", flavour="portable")
    package = package_onnx("sentence-transformers", [judged], tmp_path / "p", checkpoint=checkpoint)
    path = package / "1_Pooling" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    assert config["pooling_mode_cls_token"] is True
    changed = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    path.write_text(json.dumps({**config, **changed}), "utf-8")
    seal(package)
    report = verify_package(package)
    assert report.verdict == "fail"
    said = " ".join(check.detail for check in report.checks)
    assert "pooled by 'mean' instead of 'cls'" in said


def test_openvino_package_gives_its_golden_vectors(checkpoint: Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    export_openvino(checkpoint, tmp_path / "a")
    evidence = evidence_of(OpenVinoEncoder(tmp_path / "a", threads=1), checkpoint)
    judged = Judged(tmp_path / "a", PASS, *evidence)
    package = package_onnx("openvino", [judged], tmp_path / "p", checkpoint=checkpoint)
    report = verify_package(package)
    assert report.verdict == "pass", report.checks


@pytest.mark.slow
def test_browsers_give_its_golden_vectors(
    checkpoint: Checkpoint, npm: Path, tmp_path: Path
) -> None:
    made = [
        judged_onnx(checkpoint, tmp_path / quant, quant=quant)
        for quant in ("fp32", "fp16", "int8", "q4")
    ]
    package_transformersjs(made, tmp_path / "p", checkpoint=checkpoint, npm=npm)
    report = verify_package(tmp_path / "p", settings={"node_modules": npm})
    assert report.verdict == "pass", report.checks
