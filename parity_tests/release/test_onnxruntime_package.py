"""The package for ONNX Runtime: both formats, both examples, and what it notices."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnxruntime

from exporter.checkpoint.contents import Checkpoint
from exporter.cli.main import main
from exporter.errors import BadInput, GateClosed
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.packages.assemble import Judged
from exporter.packages.verify import VerifyReport, verify_package
from parity_tests.packaging import files_of, package_onnx, seal

QUESTION = "房东{text}不退押金 {title}"
LONG = "押金" * 2_000


@pytest.fixture(scope="module")
def package(
    portable_artifacts: list[Judged],
    miniature: Checkpoint,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    output = tmp_path_factory.mktemp("onnxruntime") / "p"
    return package_onnx("onnxruntime", portable_artifacts[1:], output, checkpoint=miniature)


@pytest.fixture
def copy(package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package, tmp_path / "copy"))


def found(report: VerifyReport) -> dict[str, tuple[str, str]]:
    return {check.name: (check.status, check.detail) for check in report.checks}


def test_both_formats_give_the_golden_vectors_and_their_cost_is_told(package: Path) -> None:
    report = verify_package(package)
    checks = found(report)
    assert report.verdict == "pass", checks
    for file in ("model.onnx", "model.ort"):
        assert checks[f"golden, {file}"] == ("pass", "ids and vectors of 14 texts agree")
        status, told = checks[f"cost, {file}"]
        assert status == "info"
        assert float(told.split(" s to load, ")[0]) < 60
        assert 20 < float(told.split(", ")[1].split(" MB")[0].replace(",", "")) < 2_000


def test_the_same_artifact_gives_the_same_bytes_but_for_ort(
    package: Path, portable_artifacts: list[Judged], miniature: Checkpoint, tmp_path: Path
) -> None:
    again = package_onnx(
        "onnxruntime", portable_artifacts[1:], tmp_path / "p", checkpoint=miniature
    )
    names = {path.relative_to(package).as_posix() for path in files_of(package)}
    assert names == {path.relative_to(again).as_posix() for path in files_of(again)}
    # onnxruntime writes .ort in the order of a hash table; the other two hold its hash.
    for name in names - {"model.ort", "manifest.json", "SHA256SUMS"}:
        assert (again / name).read_bytes() == (package / name).read_bytes(), name


def test_the_python_example_needs_no_torch_and_gives_the_artifacts_vectors(
    package: Path, portable_artifacts: list[Judged]
) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
        "import json, example; "
        "texts = [example.question(sys.argv[1]), example.document('', '条文'), "
        "example.document('题{text}', '条文'), sys.argv[2]]; "
        "print(json.dumps([texts[:3], example.embed(texts).tolist()]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, QUESTION, LONG],
        cwd=package,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    texts, vectors = json.loads(ran.stdout)
    assert texts == [QUESTION, "title: none | text: 条文", "title: 题{text} | text: 条文"]
    expected = OnnxEncoder(portable_artifacts[1].folder).encode([*texts, LONG])
    # Four texts in one padded batch: kernels round differently, and int8 with them.
    assert ((np.asarray(vectors) * expected).sum(axis=1) > 0.9995).all()


def test_the_node_example_gives_the_same_vectors_and_cuts_as_the_original_does(
    package: Path, portable_artifacts: list[Judged], npm: Path
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node on this machine: apt-get install nodejs")
    ran = subprocess.run(
        [node, str(package / "example.mjs"), QUESTION, LONG],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NODE_MODULES": str(npm)},
    )
    vectors = np.asarray(json.loads(ran.stdout))
    expected = OnnxEncoder(portable_artifacts[1].folder).encode([QUESTION, LONG])
    assert ((vectors * expected).sum(axis=1) > 0.9999).all()


def test_a_changed_byte_and_a_missing_tokenizer_are_named_and_nothing_is_run(copy: Path) -> None:
    data = bytearray((copy / "model.ort").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.ort").write_bytes(data)
    (copy / "tokenizer.json").unlink()
    report = verify_package(copy)
    assert report.verdict == "fail"
    assert [check.name for check in report.checks] == ["files"]
    assert "'tokenizer.json' is missing" in report.checks[0].detail
    assert "'model.ort' was changed" in report.checks[0].detail


def test_a_file_of_another_model_fails_its_golden_vectors(
    copy: Path, portable_artifacts: list[Judged], miniature: Checkpoint, tmp_path: Path
) -> None:
    other = package_onnx(
        "onnxruntime", portable_artifacts[:1], tmp_path / "o", checkpoint=miniature
    )
    golden = json.loads((other / "golden.json").read_text("utf-8"))
    for text in golden["texts"]:
        text["vector"] = text["vector"][::-1]
    (copy / "golden.json").write_text(json.dumps(golden), "utf-8")
    seal(copy)
    checks = found(verify_package(copy))
    assert checks["golden, model.onnx"][0] == checks["golden, model.ort"][0] == "fail"


def test_a_runtime_that_is_too_old_is_named_with_both_versions(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.17.3")
    for file in ("model.onnx", "model.ort"):
        status, told = found(verify_package(package))[f"golden, {file}"]
        assert status == "fail"
        assert told.startswith("onnxruntime 1.17.3 is too old for")
        assert "needs 1.18 or newer; run: pip install -U onnxruntime" in told


def test_what_did_not_pass_and_what_is_no_onnx_is_refused(
    released: Path, portable_artifacts: list[Judged], miniature: Checkpoint, tmp_path: Path
) -> None:
    judged = portable_artifacts[0]
    for verdict in ("fail", "undecided", "none"):
        closed = judged.verdict.model_copy(update={"verdict": verdict, "reasons": ("because",)})
        with pytest.raises(GateClosed, match="because"):
            package_onnx(
                "onnxruntime",
                [replace(judged, verdict=closed)],
                tmp_path / "p",
                checkpoint=miniature,
            )
    with pytest.raises(BadInput, match="holds one artifact"):
        package_onnx("onnxruntime", portable_artifacts, tmp_path / "p", checkpoint=miniature)
    with pytest.raises(SystemExit) as stopped:
        main(
            ["package", "onnxruntime", str(released / "gguf-q8_0"), "--output", str(tmp_path / "p")]
        )
    assert stopped.value.code == 2
    assert not (tmp_path / "p").exists()
