"""What is made of an adapter holds it, and says of which base it is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from exporter.api import export
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.main import main
from exporter.errors import BadInput
from exporter.formats.open import artifact_source
from exporter.guards.read import read_space
from exporter.manifest import read_manifest
from exporter.packages.assemble import check_checkpoint
from exporter.packages.terms import read_terms
from exporter.recipe import ArtifactSpec
from exporter.release.exports import export_side_by_side
from parity_tests.tiny_adapter import edit_config, edit_tensors, make_adapter
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")
peft = pytest.importorskip("peft")

from exporter.runtimes.torch_reference import TorchReference  # noqa: E402

TEXTS = ("房东不退押金怎么办？", "押金" * 200, "a")
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "model"
    return make_tiny_checkpoint(folder, hidden=48, matryoshka_dims=(48, 16))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an adapter as sentence-transformers saves it, its modules and tokenizer beside it."""
    folder = tmp_path_factory.mktemp("saved") / "adapter"
    config = peft.LoraConfig(r=4, target_modules=LINEAR)
    return make_adapter(folder, base, config, wrap="sentence-transformers")


def test_an_artifact_holds_the_merge_and_names_adapter_and_base(
    adapter: Path, base: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    checkpoint = read_checkpoint(adapter)
    manifest = export(checkpoint, tmp_path / "onnx", format="onnx", scheme="fp32")
    assert manifest.adapter is not None
    assert (manifest.adapter.type, manifest.adapter.base) == ("LoRA", "model")
    files = read_space(tmp_path / "onnx" / "space.json").model_files
    assert {"adapter_model.safetensors", "base/model.safetensors"} <= set(files)
    encoder = artifact_source(tmp_path / "onnx").open()
    truth = TorchReference(checkpoint, dtype="float32", device="cpu").encode(TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS), truth, atol=1e-6)
    text = (tmp_path / "onnx" / "manifest.json").read_text("utf-8")
    assert str(base.parent) not in text, "a path of this machine"


def test_an_artifact_of_another_adapter_or_of_the_base_is_told_apart(
    adapter: Path, base: Path, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    checkpoint = read_checkpoint(adapter)
    manifest = export(checkpoint, tmp_path / "gguf", format="gguf", scheme="f32")
    check_checkpoint(tmp_path / "gguf", manifest, checkpoint)
    other = Path(shutil.copytree(adapter, tmp_path / "other"))
    edit_tensors(other, change=lambda name, tensor: (name, tensor * 2))
    with pytest.raises(BadInput, match=r"adapter_model\.safetensors differs"):
        check_checkpoint(tmp_path / "gguf", manifest, read_checkpoint(other))
    with pytest.raises(BadInput, match="differs; pass the right --checkpoint"):
        check_checkpoint(tmp_path / "gguf", manifest, read_checkpoint(base))


def test_exports_side_by_side_have_the_adapter_too(
    adapter: Path, base: Path, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    moved = edit_config(
        Path(shutil.copytree(adapter, tmp_path / "moved")), base_model_name_or_path="/gone"
    )
    checkpoint = read_checkpoint(moved, base=str(base))
    specs = {
        tmp_path / scheme: ArtifactSpec(format="gguf", scheme=scheme) for scheme in ("f32", "f16")
    }
    export_side_by_side(
        specs,
        checkpoint,
        jobs=2,
        calibration=None,
        keep=tmp_path / "keep",
        force=lambda _: False,
        finished=lambda _: None,
    )
    alone = export(checkpoint, tmp_path / "alone", format="gguf", scheme="f32")
    assert read_manifest(tmp_path / "f32") == alone


def test_the_traced_graph_is_refused(adapter: Path, tmp_path: Path) -> None:
    pytest.importorskip("optimum")
    checkpoint = read_checkpoint(adapter)
    with pytest.raises(BadInput, match="--graph traced is of the files as saved"):
        export(checkpoint, tmp_path / "onnx", format="onnx", scheme="fp32", graph="traced")
    assert not (tmp_path / "onnx").exists()


def test_the_terms_of_the_base_hold_for_what_is_made_of_its_adapter(
    adapter: Path, base: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    (folder / "README.md").unlink()
    named = edit_config(folder, base_model_name_or_path="google/embeddinggemma-300m")
    terms = read_terms(read_checkpoint(named, base=str(base)))
    assert terms.gemma
    assert terms.base_models == ("google/embeddinggemma-300m",)


def test_inspect_shows_an_adapter_by_its_folder(
    adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown_of(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["inspect", *arguments])
        assert not ended.value.code
        return capsys.readouterr().out

    assert "LoRA, rank 4, on 42 tensors of model" in shown_of(str(adapter))
    shown = json.loads(shown_of("--checkpoint", str(adapter), "--json"))["adapter"]
    assert shown["base"] == "model"
    assert {change["kind"] for change in shown["changes"]} == {
        *(f"self_attn.{name}_proj" for name in "qkvo"),
        *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    }
    assert all(change["relative"] > 0 for change in shown["changes"])
