"""The Python API, by the example that docs/python.md shows."""

import json
import re
from pathlib import Path

import pytest

import exporter
from exporter import export, judge, package, read_checkpoint
from exporter.errors import BadInput, GateClosed
from exporter.recipe import Limits, bundled_recipe, read_recipe
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE, REPOSITORY

PAGE = REPOSITORY / "docs" / "python.md"


@pytest.mark.slow
def test_the_example_of_the_docs_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    example = example.replace("path/to/model", str(MINIATURE))
    example = example.replace("path/to/beir-folder", str(BUNDLED_CORPUS))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(PAGE), "exec"), {})
    out = capsys.readouterr().out
    assert "onnx-int8 pass" in out
    assert "gguf-q8_0 pass" in out
    report = json.loads(Path("artifacts/parity.json").read_text())
    assert [found["verdict"] for found in report["artifacts"]] == ["pass", "pass"]
    assert Path("artifacts/packages/ollama/Modelfile").is_file()


def test_a_package_without_a_pass_is_refused(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(str(MINIATURE))
    artifact = tmp_path / "artifact"
    manifest = export(checkpoint, artifact, format="onnx")
    assert (manifest.format, manifest.scheme) == ("onnx", "fp32")
    with pytest.raises(GateClosed, match="lawvault parity"):
        package("onnxruntime", [artifact], tmp_path / "out", checkpoint=checkpoint, report=None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"format": "onxx"}, "did you mean 'onnx'"),
        ({"format": "onnx", "scheme": "int9"}, "did you mean 'int8'"),
        ({"format": "onnx", "flavor": "web"}, "did you mean 'flavour'"),
    ],
)
def test_a_wrong_word_is_refused_before_any_work(
    tmp_path: Path, given: dict[str, str], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        export(read_checkpoint(MINIATURE), tmp_path / "out", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_recipe_of_ones_own_closes_the_gate(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(MINIATURE)
    export(checkpoint, tmp_path / "int8", format="onnx", scheme="int8")
    recipe = read_recipe(bundled_recipe("demo"))
    strict = Limits(cosine_p1_min=1.0, overlap_at_10_min=1.0, mrr_at_10_margin=0.01)
    report = judge(
        [tmp_path / "int8"],
        checkpoint,
        corpus=BUNDLED_CORPUS,
        recipe=recipe.model_copy(update={"limits": {**recipe.limits, "8bit": strict}}),
        dims=[checkpoint.dim],
        cache=tmp_path / "vectors",
    )
    assert report.verdict == "fail"
    assert not (tmp_path / "parity.json").exists()


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'exprt'"):
        _ = exporter.exprt  # type: ignore[attr-defined]
