"""The folder that replaces the original in sentence-transformers, fastembed and others."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")
pytest.importorskip("optimum.onnxruntime")

import onnxruntime
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.main import main
from exporter.errors import BadInput, GateClosed
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.packages.assemble import Judged
from exporter.packages.sentence_transformers.packager import prefixes
from exporter.packages.verify import verify_package
from parity_tests.packaging import judged_onnx, package_onnx

TEXTS = ["押金", "房东一直拖着不退押金怎么办"]


@pytest.fixture(scope="module")
def package(
    portable_artifacts: list[Judged],
    miniature: Checkpoint,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    output = tmp_path_factory.mktemp("st") / "p"
    return package_onnx("sentence-transformers", portable_artifacts, output, checkpoint=miniature)


def opened(folder: Path, file: str, **options: Any) -> Any:
    chosen = {"file_name": file, "provider": "CPUExecutionProvider"}
    return SentenceTransformer(
        str(folder), backend="onnx", device="cpu", model_kwargs=chosen, **options
    )


def test_every_file_gives_its_golden_vectors_whole_and_cut(package: Path) -> None:
    report = verify_package(package)
    assert report.verdict == "pass", report.checks
    names = [check.name for check in report.checks]
    assert names == [
        "files",
        "golden, onnx/model.onnx",
        "truncate_dim 64, onnx/model.onnx",
        "golden, onnx/model_int8.onnx",
        "truncate_dim 64, onnx/model_int8.onnx",
    ]


def test_prompts_of_the_verdict_are_applied_by_their_names(
    package: Path, portable_artifacts: list[Judged]
) -> None:
    model = opened(package, "onnx/model.onnx", truncate_dim=128)
    encoder = OnnxEncoder(portable_artifacts[0].folder)
    for made, prompt in (
        (model.encode_query(TEXTS), ""),
        (model.encode_document(TEXTS), "title: none | text: "),
        (model.encode(TEXTS), ""),
    ):
        expected = encoder.encode(TEXTS, prompt=prompt, dim=128)
        made = made / np.linalg.norm(made, axis=1, keepdims=True)
        np.testing.assert_allclose(made, expected, atol=1e-5)


def test_the_torch_backend_fails_instead_of_misleading(package: Path) -> None:
    with pytest.raises(OSError, match="no file named"):
        SentenceTransformer(str(package), backend="torch", device="cpu")


def test_inspect_says_what_this_folder_is(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", "--checkpoint", str(package)])
    assert stopped.value.code == 2
    assert "its graphs hold the Dense modules" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["onnx/model.onnx", "onnx/model_int8.onnx"])
def test_fastembed_gives_the_same_vectors_as_a_custom_model(
    package: Path, portable_artifacts: list[Judged], file: str
) -> None:
    fastembed = pytest.importorskip("fastembed")
    from fastembed.common.model_description import ModelSource, PoolingType

    name = f"lawvault/{file}"
    fastembed.TextEmbedding.add_custom_model(
        model=name,
        pooling=PoolingType.MEAN,
        normalization=True,
        dim=256,
        sources=ModelSource(hf="ORG/NAME"),
        model_file=file,
        additional_files=[f"{file}_data"],
    )
    model = fastembed.TextEmbedding(name, specific_model_path=str(package))
    made = np.stack([vector for text in TEXTS for vector in model.embed([text])])
    folder = portable_artifacts[int("int8" in file)].folder
    np.testing.assert_allclose(made, OnnxEncoder(folder).encode(TEXTS), atol=1e-5)


def test_pooling_as_text_embeddings_inference_does_gives_the_vector(
    package: Path, portable_artifacts: list[Judged]
) -> None:
    """Its ONNX backend cannot run here; these are its steps: pad with 0 on the right, run, mean of
    last_hidden_state by the mask, scale to length 1."""
    rows = [e.ids for e in Tokenizer.from_file(str(package / "tokenizer.json")).encode_batch(TEXTS)]
    width = max(map(len, rows))
    ids = np.array([row + [0] * (width - len(row)) for row in rows], np.int64)
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows], np.int64)
    session = onnxruntime.InferenceSession(str(package / "onnx" / "model.onnx"))
    assert {i.name for i in session.get_inputs()} == {"input_ids", "attention_mask"}
    states: Any = session.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": mask})[0]
    pooled = (states * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(
        pooled, OnnxEncoder(portable_artifacts[0].folder).encode(TEXTS), atol=1e-5
    )
    pooling = json.loads((package / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_mean_tokens"] is True
    assert json.loads((package / "config.json").read_text())["model_type"] == "gemma3_text"


def test_a_lone_artifact_lies_where_every_consumer_looks_first(
    portable_artifacts: list[Judged], miniature: Checkpoint, tmp_path: Path
) -> None:
    made = package_onnx(
        "sentence-transformers", portable_artifacts[1:], tmp_path / "p", checkpoint=miniature
    )
    assert sorted(p.name for p in (made / "onnx").iterdir()) == ["model.onnx", "model.onnx_data"]
    assert "`onnx/model.onnx` | onnx-int8" in (made / "README.md").read_text("utf-8")


def test_a_prompt_that_goes_on_behind_the_text_is_no_prefix() -> None:
    assert prefixes(Prompts(query="{text} ?", document="d: ")) == {"document": "d: "}


def test_a_graph_that_older_runtimes_cannot_read_is_refused(
    miniature: Checkpoint, tmp_path: Path
) -> None:
    judged = judged_onnx(miniature, tmp_path / "a", quant="fp32", flavour="cpu23")
    with pytest.raises(BadInput, match=r"flavour cpu23.*lawvault export onnx --quant fp32"):
        package_onnx("sentence-transformers", [judged], tmp_path / "p", checkpoint=miniature)


def test_without_a_pass_there_is_no_package(
    portable_artifacts: list[Judged], miniature: Checkpoint, tmp_path: Path
) -> None:
    first, second = portable_artifacts
    closed = second.verdict.model_copy(update={"verdict": "fail", "reasons": ("too far",)})
    artifacts = [first, replace(second, verdict=closed)]
    with pytest.raises(GateClosed, match="too far"):
        package_onnx("sentence-transformers", artifacts, tmp_path / "p", checkpoint=miniature)
    assert not (tmp_path / "p").exists()


def test_an_edited_package_is_not_run_and_a_missing_library_is_named(
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = Path(shutil.copytree(package, tmp_path / "copy"))
    (copy / "config_sentence_transformers.json").write_text("{}")
    report = verify_package(copy)
    assert report.verdict == "fail"
    assert report.checks[0].detail == "'config_sentence_transformers.json' was changed"
    monkeypatch.setitem(sys.modules, "optimum.onnxruntime", None)
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(package)])
    assert stopped.value.code == 3
    assert "lawvault-exporter[traced]" in capsys.readouterr().err


def test_the_checkpoint_it_was_made_from_is_still_read(miniature: Checkpoint) -> None:
    assert read_checkpoint(miniature.path).dim == miniature.dim
