"""EmbeddingGemma 2's text part: every graph is transformers 5's own model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from exporter.architectures.embedding_gemma2 import layer as layer_module  # noqa: E402
from exporter.architectures.embedding_gemma2.config import EmbeddingGemma2Architecture  # noqa: E402
from exporter.architectures.embedding_gemma2.family import FAMILY  # noqa: E402
from exporter.architectures.steps import Attend, Norm, Scale, Step  # noqa: E402
from exporter.checkpoint.contents import Checkpoint  # noqa: E402
from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.errors import BadInput, MissingDependency  # noqa: E402
from exporter.formats.gguf.export import export_gguf  # noqa: E402
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.formats.open import open_artifact  # noqa: E402
from exporter.formats.openvino.export import export_openvino  # noqa: E402
from exporter.quantization.forward import run_backbone  # noqa: E402
from exporter.quantization.inputs import token_rows  # noqa: E402
from exporter.quantization.weights import ModelWeights  # noqa: E402
from exporter.runtimes.torch_reference import TorchReference  # noqa: E402
from parity_tests.conftest import TEXTS  # noqa: E402
from parity_tests.quantized import check_near_and_blind_to_company  # noqa: E402
from parity_tests.second import reference_vectors, run_second  # noqa: E402

EXACT = {"rtol": 0, "atol": 1e-5}


def make(folder: Path, **options: object) -> Path:
    """Write a tiny checkpoint by transformers 5's own class."""
    named = [f"{name}={str(value).lower()}" for name, value in options.items()]
    ran = run_second("parity_tests.tiny_embedding_gemma2", folder, *named)
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(make(tmp_path_factory.mktemp("eg2") / "tiny"))


@pytest.fixture(scope="module")
def truth(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reference_vectors(tiny.path, TEXTS, tmp_path_factory.mktemp("truth"))


def vectors_of_steps(checkpoint: Checkpoint) -> Any:
    """Return what the family's steps make of the texts, in torch, (n, dim) of length 1."""
    head = ModelWeights(checkpoint).head(dim=checkpoint.dim)
    found = run_backbone(checkpoint, TEXTS) @ head
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_its_steps_in_torch_are_the_model(tiny: Checkpoint, truth: Any) -> None:
    assert truth.shape[1] == tiny.dim == 96
    np.testing.assert_allclose(vectors_of_steps(tiny), truth, **EXACT)


@pytest.mark.parametrize("flavour", ["portable", "web", "cpu23"])
def test_its_graph_is_the_model(tiny: Checkpoint, truth: Any, tmp_path: Path, flavour: str) -> None:
    export_onnx(tiny, tmp_path / "a", flavour=flavour)
    np.testing.assert_allclose(open_artifact(tmp_path / "a").encode(TEXTS), truth, **EXACT)


def test_its_openvino_model_is_the_model(tiny: Checkpoint, truth: Any, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    export_openvino(tiny, tmp_path / "a")
    np.testing.assert_allclose(open_artifact(tmp_path / "a").encode(TEXTS), truth, **EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("scheme,most", [("fp32", 1e-6), ("int8", 5e-3)])
def test_its_litert_model_is_the_model(
    tiny: Checkpoint, truth: Any, few_texts: Path, tmp_path: Path, scheme: str, most: float
) -> None:
    pytest.importorskip("ai_edge_litert")
    from parity_tests.release.test_litert import convert

    texts = ["--calibration", few_texts] if scheme == "int8" else []
    convert(tiny.path, tmp_path / "a", "--quant", scheme, "--lengths", "32,64", *texts)
    found = open_artifact(tmp_path / "a").encode(TEXTS)
    assert (1 - (found * truth).sum(axis=1)).max() < most


def test_a_whole_model_is_read_without_its_towers(
    tiny: Checkpoint, truth: Any, tmp_path: Path
) -> None:
    whole = read_checkpoint(make(tmp_path / "whole", towers=True))
    assert whole.model_type == "embedding_gemma2"
    assert "vision_config" in next(f.evidence for f in whole.findings if f.id == "other-inputs")
    assert set(whole.tensors) == set(tiny.tensors)
    np.testing.assert_allclose(vectors_of_steps(whole), truth, **EXACT)
    reference = reference_vectors(whole.path, TEXTS, tmp_path)
    np.testing.assert_allclose(reference, truth, **EXACT)


@pytest.mark.parametrize(
    "scheme,most,options",
    [
        ("fp16", 1e-4, {}),
        ("int8", 2e-3, {}),
        ("q4", 0.2, {}),
        ("q4f16", 0.2, {}),
        ("mixed", 0.02, {"budget": "2MB"}),
    ],
)
def test_quantized_graphs_are_near_the_model_and_blind_to_company(
    tiny: Checkpoint,
    truth: Any,
    few_texts: Path,
    tmp_path: Path,
    scheme: str,
    most: float,
    options: dict[str, str],
) -> None:
    export_onnx(tiny, tmp_path / "a", scheme=scheme, calibration=few_texts, **options)
    check_near_and_blind_to_company(open_artifact(tmp_path / "a"), truth, most=most)


def test_openvino_int8_rounds_what_onnx_int8_rounds(
    tiny: Checkpoint, few_texts: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    for name, export in (("onnx", export_onnx), ("openvino", export_openvino)):
        export(tiny, tmp_path / name, scheme="int8", calibration=few_texts)
    ours, theirs = (open_artifact(tmp_path / name).encode(TEXTS) for name in ("onnx", "openvino"))
    assert np.median(1 - (ours * theirs).sum(axis=1)) < 1e-5


@pytest.mark.slow
def test_8192_tokens_are_the_model_too(tmp_path: Path) -> None:
    folder = make(tmp_path / "long", layers=2, window=512, max_tokens=8192)
    checkpoint = read_checkpoint(folder)
    texts = ["第一条 出租人应当按照约定将租赁物交付承租人，并保持其用途。" * 800]
    assert len(token_rows(checkpoint, texts)[0]) == 8192
    truth = reference_vectors(folder, texts, tmp_path)
    export_onnx(checkpoint, tmp_path / "a")
    np.testing.assert_allclose(open_artifact(tmp_path / "a").encode(texts), truth, **EXACT)
    export_openvino(checkpoint, tmp_path / "b")
    np.testing.assert_allclose(open_artifact(tmp_path / "b").encode(texts), truth, **EXACT)


class Wrong:
    """What a runtime computes that gets one thing wrong, as changed steps or numbers."""

    @staticmethod
    def scaled_scores(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        return tuple(
            replace(s, scale=s.head_dim**-0.5) if isinstance(s, Attend) else s for s in steps
        )

    @staticmethod
    def values_as_they_are(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        return tuple(s for s in steps if not (isinstance(s, Norm) and s.plain))

    @staticmethod
    def one_rotation(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """Rotate only as much of a wide head as of a narrow one: not at all, for the test."""
        wide = any(isinstance(s, Attend) and s.head_dim == 32 for s in steps)
        return tuple(s for s in steps if not (wide and type(s).__name__ == "Rotate"))

    @staticmethod
    def no_layer_scalars(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        return tuple(s for s in steps if not isinstance(s, Scale))

    @staticmethod
    def no_per_layer_inputs(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        first = next(i for i, s in enumerate(steps) if getattr(s, "x", "") == "e")
        return (*steps[:first], steps[-1])


@pytest.mark.parametrize(
    "finding,wrong",
    [
        ("attention-scale", Wrong.scaled_scores),
        ("value-norm", Wrong.values_as_they_are),
        ("head-sizes", Wrong.one_rotation),
        ("layer-scalars", Wrong.no_layer_scalars),
        ("per-layer-inputs", Wrong.no_per_layer_inputs),
    ],
)
def test_what_a_finding_warns_of_gives_other_vectors(
    tiny: Checkpoint, truth: Any, monkeypatch: pytest.MonkeyPatch, finding: str, wrong: Any
) -> None:
    assert finding in {f.id for f in tiny.findings}
    right = FAMILY.layer
    monkeypatch.setattr(FAMILY, "layer", lambda a, i: wrong(right(a, i)))
    found = vectors_of_steps(tiny)
    assert (1 - (found * truth).sum(axis=1)).max() > 1e-4


@pytest.mark.parametrize("finding", ["window-radius", "shared-kv-heads"])
def test_what_a_finding_warns_of_gives_other_vectors_by_numbers(
    tiny: Checkpoint, truth: Any, monkeypatch: pytest.MonkeyPatch, finding: str
) -> None:
    assert finding in {f.id for f in tiny.findings}
    a = tiny.architecture
    assert isinstance(a, EmbeddingGemma2Architecture)
    changed = tiny
    if finding == "window-radius":
        narrow = a.model_copy(update={"window_radius": a.window_radius // 2})
        changed = replace(tiny, architecture=narrow)
    else:  # the second pair of heads reads the first pair's keys
        whole = ModelWeights.matrix

        def matrix(self: ModelWeights, name: str) -> Any:
            found = whole(self, name)
            if name.endswith("k_proj") and len(found) == 32 and "layers.5" not in name:
                found[16:] = found[:16]
            return found

        monkeypatch.setattr(ModelWeights, "matrix", matrix)
    found = vectors_of_steps(changed)
    assert (1 - (found * truth).sum(axis=1)).max() > 1e-4


def test_per_layer_matrices_are_rows_of_the_one_in_the_file(tiny: Checkpoint) -> None:
    a = tiny.architecture
    assert isinstance(a, EmbeddingGemma2Architecture)
    whole = ModelWeights(tiny).matrix_shapes
    made = [n for n in whole if n.endswith(layer_module.PER_LAYER)]
    assert len(made) == a.num_layers
    assert {whole[name] for name in made} == {(a.per_layer_width, a.hidden_size)}
    stored = 288_982  # of transformers' own count, num_parameters() and the six layer_scalars
    assert tiny.parameters == stored


def test_layers_are_numbered_with_zeros_where_there_are_more_than_ten(tmp_path: Path) -> None:
    folder = make(tmp_path / "deep", layers=12)
    saved = json.loads((folder / "config.json").read_text("utf-8"))
    assert list(saved["per_layer_config"]) == ["05", "11"]
    a = read_checkpoint(folder).architecture
    assert isinstance(a, EmbeddingGemma2Architecture)
    assert (a.global_kv_heads, a.global_head_dim) == (1, 32)


def test_gguf_is_refused_by_name(tiny: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"embedding_gemma2_text.*llama\.cpp as pinned"):
        export_gguf(tiny, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_reference_says_which_transformers_it_needs(tiny: Checkpoint) -> None:
    transformers = pytest.importorskip("transformers")
    if int(transformers.__version__.partition(".")[0]) >= 5:
        pytest.skip("this transformers knows the model")
    with pytest.raises(MissingDependency, match=r"transformers 5\.24"):
        TorchReference(tiny, dtype="float32")


@pytest.mark.parametrize(
    "key,value,message",
    [
        ("hidden_activation", "silu", "architecture-not-built"),
        ("attention_bias", True, "architecture-not-built"),
        ("per_layer_config", {"0": {"head_dim": 32}}, "per_layer_config changes"),
        ("per_layer_config", {"5": {"hidden_size": 32}}, "per_layer_config changes"),
        ("per_layer_config", [1], "per_layer_config is no object"),
        ("per_layer_config", {"five": {}}, "per_layer_config is no object"),
        ("per_layer_config", {"5": {"head_dim": []}}, "head_dim is"),
        ("layer_types", ["sliding_attention"], "layer_types must name 6 layers"),
        ("layer_types", [["sliding_attention"]] * 6, "layer_types must name 6 layers"),
        ("rope_parameters", {"full_attention": {}}, "no object for sliding_attention"),
        ("embedding_dim", 95, "embedding_projection.weight"),
        ("sliding_window", "wide", "sliding_window"),
        ("num_key_value_heads", 3, "do not divide"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_by_name(
    tiny: Checkpoint, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    shutil.copytree(tiny.path, tmp_path / "c")
    path = tmp_path / "c" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {key: value}), "utf-8")
    if message == "architecture-not-built":
        found = read_checkpoint(tmp_path / "c")
        assert message in {f.id for f in found.findings}
        assert found.architecture is None
        return
    with pytest.raises(BadInput, match=message):
        read_checkpoint(tmp_path / "c")


@pytest.mark.slow
def test_vectors_of_another_window_are_named(tiny: Checkpoint, tmp_path: Path) -> None:
    """As a server's are that takes the radius for a width: golden vectors know them."""
    folder = make(tmp_path / "deep", max_tokens=512)
    export_onnx(read_checkpoint(folder), tmp_path / "sound")
    named = ["--checkpoint", folder, "--output", tmp_path / "report", "--quiet"]
    ran = run_second("exporter", "parity", tmp_path / "sound", *named)
    assert ran.returncode == 0, ran.stderr
    report = tmp_path / "report" / "parity.json"
    named = ["--checkpoint", folder, "--report", report, "--output", tmp_path / "p"]
    ran = run_second("exporter", "package", "onnxruntime", tmp_path / "sound", *named)
    assert ran.returncode == 0, ran.stderr
    golden = json.loads((tmp_path / "p" / "golden.json").read_text("utf-8"))
    said = {mistake["said"] for mistake in golden["mistakes"]}
    assert "a model whose sliding window is half as wide" in said
