"""A recipe by name or file decides exports too, and the next command printed works as it stands."""

import json
import shlex
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

from exporter.corpus.calibration import calibration_sha256, read_calibration
from exporter.manifest import read_manifest
from parity_tests.command import run
from parity_tests.tiny_corpus import make_tiny_corpus


def test_an_export_is_fitted_on_the_texts_of_its_recipe(
    tiny_path: Path, few_texts: Path, tmp_path: Path
) -> None:
    texts = [json.loads(line) for line in few_texts.read_text("utf-8").splitlines()][:20]
    (tmp_path / "mine.jsonl").write_text(
        "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts), "utf-8"
    )
    recipe = tmp_path / "mine.toml"
    recipe.write_text('schema_version = 1\nextends = "default"\ncalibration = "mine.jsonl"\n')
    common = ["--checkpoint", tiny_path, "--recipe", recipe, "--quiet"]
    assert run(["export", "onnx", "--quant", "int8", "--output", tmp_path / "a", *common]) == 0
    wanted = calibration_sha256(read_calibration(tmp_path / "mine.jsonl"))
    assert read_manifest(tmp_path / "a").calibration_sha256 == wanted
    # What measures nothing takes no texts, and does not refuse the recipe for having some.
    assert run(["export", "onnx", "--output", tmp_path / "b", *common]) == 0
    assert read_manifest(tmp_path / "b").calibration_sha256 is None
    assert run(["export", "gguf", "--output", tmp_path / "c", *common]) == 0


def test_a_recipe_that_fits_on_its_corpus_does_so_for_an_export_too(
    tiny_path: Path, tmp_path: Path
) -> None:
    make_tiny_corpus(tmp_path / "corpus", documents=120)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'schema_version = 1\nextends = "default"\ncorpus = "corpus"\ncalibration = "corpus"\n'
    )
    output = tmp_path / "a"
    assert (
        run(
            [
                "export",
                "onnx",
                "--quant",
                "int8",
                "--output",
                output,
                "--quiet",
                "--checkpoint",
                tiny_path,
                "--recipe",
                recipe,
            ]
        )
        == 0
    )
    assert read_manifest(output).calibration_sha256 not in (
        None,
        calibration_sha256(read_calibration(None)),
    )


def test_the_next_command_works_as_it_stands(
    tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "with space" / "onnx-fp32"
    output.parent.mkdir()
    prompts = "query=it's: {text},document={title}: {text}"
    assert (
        run(
            [
                "export",
                "onnx",
                "--checkpoint",
                tiny_path,
                "--recipe",
                "lawvault",
                "--prompts",
                prompts,
                "--output",
                output,
            ]
        )
        == 0
    )
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("next: "))
    words = shlex.split(said.removeprefix("next: "))
    assert words[:2] == ["lawvault", "parity"]
    corpus = make_tiny_corpus(tmp_path / "corpus")
    assert run([*words[1:], "--corpus", corpus, "--dims", "16", "--quiet"]) == 0


def test_a_package_lies_beside_its_artifact(tiny_path: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "somewhere" / "onnx-fp32"
    artifact.parent.mkdir()
    common = ["--checkpoint", tiny_path, "--quiet"]
    assert run(["export", "onnx", "--output", artifact, *common]) == 0
    assert run(["package", "onnxruntime", artifact, "--override-verdict", "a test", *common]) == 0
    assert (artifact.parent / "packages" / "onnxruntime-fp32" / "manifest.json").is_file()
