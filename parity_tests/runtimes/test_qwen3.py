"""Qwen3-Embedding's family: every graph is transformers' own model, whatever side is padded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

from exporter.checkpoint.contents import Checkpoint  # noqa: E402
from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.checkpoint.safetensors_file import read_header, read_tensor  # noqa: E402
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.formats.onnx.positions import rotary_tables  # noqa: E402
from exporter.formats.onnx.runtime import OnnxEncoder  # noqa: E402
from exporter.formats.open import open_artifact  # noqa: E402
from exporter.formats.openvino.export import export_openvino  # noqa: E402
from exporter.quantization.forward import run_backbone  # noqa: E402
from exporter.quantization.inputs import token_rows  # noqa: E402
from exporter.runtimes.torch_reference import TorchReference  # noqa: E402
from parity_tests.conftest import TEXTS  # noqa: E402
from parity_tests.layout import save_tensors  # noqa: E402
from parity_tests.quantized import check_near_and_blind_to_company  # noqa: E402
from parity_tests.tiny_qwen3 import QUERY, make_tiny_qwen3  # noqa: E402

EXACT = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def tiny_qwen3(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(make_tiny_qwen3(tmp_path_factory.mktemp("qwen3") / "tiny-qwen3"))


@pytest.fixture(scope="module")
def truth(tiny_qwen3: Checkpoint) -> Any:
    return TorchReference(tiny_qwen3, dtype="float32", device="cpu").encode(TEXTS)


@pytest.fixture(scope="module")
def portable(tiny_qwen3: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen3-onnx") / "portable"
    export_onnx(tiny_qwen3, folder)
    return folder


def test_its_steps_in_torch_are_the_model(tiny_qwen3: Checkpoint, truth: Any) -> None:
    found = run_backbone(tiny_qwen3, TEXTS)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(found, truth, **EXACT)


@pytest.mark.parametrize("flavour", ["portable", "web", "cpu23"])
def test_its_graph_is_the_model(
    tiny_qwen3: Checkpoint, truth: Any, tmp_path: Path, flavour: str
) -> None:
    export_onnx(tiny_qwen3, tmp_path / "a", flavour=flavour)
    np.testing.assert_allclose(open_artifact(tmp_path / "a").encode(TEXTS), truth, **EXACT)


def test_its_openvino_model_is_the_model(
    tiny_qwen3: Checkpoint, truth: Any, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    export_openvino(tiny_qwen3, tmp_path / "a")
    np.testing.assert_allclose(open_artifact(tmp_path / "a").encode(TEXTS), truth, **EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("scheme,most", [("fp32", 1e-6), ("int8", 5e-4)])
def test_its_litert_model_is_the_model(
    tiny_qwen3: Checkpoint, truth: Any, few_texts: Path, tmp_path: Path, scheme: str, most: float
) -> None:
    pytest.importorskip("ai_edge_litert")
    from parity_tests.release.test_litert import convert

    texts = ["--calibration", few_texts] if scheme == "int8" else []
    convert(tiny_qwen3.path, tmp_path / "a", "--quant", scheme, "--lengths", "32,64", *texts)
    found = open_artifact(tmp_path / "a").encode(TEXTS)
    assert (1 - (found * truth).sum(axis=1)).max() < most


def test_a_matryoshka_cut_is_the_beginning_of_the_vector(
    tiny_qwen3: Checkpoint, truth: Any, tmp_path: Path
) -> None:
    export_onnx(tiny_qwen3, tmp_path / "a", dim=32)
    cut = truth[:, :32] / np.linalg.norm(truth[:, :32], axis=1, keepdims=True)
    np.testing.assert_allclose(open_artifact(tmp_path / "a").encode(TEXTS), cut, **EXACT)


def test_the_vector_is_that_of_sentence_transformers_padded_on_the_left(
    tiny_qwen3: Checkpoint, portable: Path
) -> None:
    """The base model's card loads it so."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(tiny_qwen3.path), device="cpu", model_kwargs={"dtype": torch.float32}
    )
    model.tokenizer.padding_side = "left"
    model.max_seq_length = tiny_qwen3.max_tokens
    texts = [text for text in TEXTS if text == text.strip()]  # it strips them
    encoder = open_artifact(portable)
    np.testing.assert_allclose(encoder.encode(texts), model.encode(texts), **EXACT)
    asked = model.encode(texts, prompt_name="query")
    np.testing.assert_allclose(encoder.encode(texts, prompt=QUERY), asked, **EXACT)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_padding_on_either_side_and_company_leave_the_vector(
    tiny_qwen3: Checkpoint, truth: Any, tmp_path: Path, format: str
) -> None:
    if format == "openvino":
        pytest.importorskip("openvino")
        export_openvino(tiny_qwen3, tmp_path / "a")
    else:
        export_onnx(tiny_qwen3, tmp_path / "a")
    encoder: Any = open_artifact(tmp_path / "a")
    rows = encoder.token_ids(TEXTS)
    width = max(map(len, rows)) + 7
    for left in (False, True):
        # Further right the same angles are differences of larger ones.
        near = {"rtol": 0, "atol": 3e-5 if left else 1e-5}
        found = encoder.encode_padded(rows, width=width, left=left)
        np.testing.assert_allclose(found, truth, **near)
        alone = [encoder.encode_padded([row], width=width, left=left) for row in rows]
        np.testing.assert_allclose(np.concatenate(alone), truth, **near)


def test_no_token_sees_what_stands_behind_it(portable: Path) -> None:
    class States(OnnxEncoder):
        def _run(self, ids: Any, mask: Any) -> Any:
            return self._session.run(
                ["last_hidden_state"], {"input_ids": ids, "attention_mask": mask}
            )[0]

    states = States(portable)
    ids = np.arange(5, 25)[None]
    whole = states._run(ids, np.ones_like(ids))
    for cut in (1, 7, 19):
        begun = states._run(ids[:, :cut], np.ones((1, cut), np.int64))
        np.testing.assert_allclose(whole[:, :cut], begun, rtol=1e-4, atol=1e-4)


def test_a_text_without_real_tokens_gives_no_vector_instead_of_a_wrong_one(portable: Path) -> None:
    encoder = OnnxEncoder(portable)
    ids = np.ones((2, 4), np.int64)
    found = encoder._run(ids, np.array([[0, 0, 0, 0], [1, 1, 0, 0]]))
    assert not found[0].any()
    np.testing.assert_allclose(
        found[1], encoder._run(ids[1:, :2], np.ones((1, 2), int))[0], **EXACT
    )


@pytest.mark.parametrize("saved", ["tied", "untied", "with a head of its own"])
def test_no_vector_depends_on_the_output_matrix(truth: Any, tmp_path: Path, saved: str) -> None:
    folder = make_tiny_qwen3(
        tmp_path / "tiny", tied=saved == "tied", head=saved == "with a head of its own"
    )
    checkpoint = read_checkpoint(folder)
    assert not any("lm_head" in name for name in checkpoint.tensors)
    evidence = {f.id: f.evidence for f in checkpoint.findings}["output-matrix"]
    assert evidence == f"tie_word_embeddings is {str(saved == 'tied').lower()}"
    export_onnx(checkpoint, tmp_path / "a")
    found = open_artifact(tmp_path / "a").encode(TEXTS)
    reference = TorchReference(checkpoint, dtype="float32", device="cpu").encode(TEXTS)
    np.testing.assert_allclose(found, reference, **EXACT)
    if saved != "with a head of its own":
        np.testing.assert_allclose(found, truth, **EXACT)


def test_mean_pooling_is_exported_where_the_checkpoint_pools_so(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(make_tiny_qwen3(tmp_path / "mean", pooling="mean"))
    wanted = TorchReference(checkpoint, dtype="float32", device="cpu").encode(TEXTS)
    export_onnx(checkpoint, tmp_path / "a")
    np.testing.assert_allclose(open_artifact(tmp_path / "a").encode(TEXTS), wanted, **EXACT)


def test_rotary_tables_are_transformers_own_up_to_32k() -> None:
    from transformers import Qwen3Config
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

    config = Qwen3Config(head_dim=128, rope_theta=1e6, max_position_embeddings=32768)
    made = Qwen3RotaryEmbedding(config)
    places = torch.arange(32768)[None]
    cos, sin = made(torch.zeros(1), places)
    found = rotary_tables(1e6, head_dim=128, positions=32768)
    for own, theirs in zip(found, (cos, sin), strict=True):
        far = np.abs(own - theirs[0, :, :64].numpy()).max(axis=0)
        assert (far > 1e-6).sum() <= 1  # a frequency whose power the two round differently


@pytest.mark.parametrize(
    "scheme,most,options",
    [
        ("fp16", 1e-5, {}),
        ("int8", 3e-4, {}),
        ("q4", 0.04, {}),
        ("q4f16", 0.04, {}),
        ("mixed", 0.01, {"budget": "430KB"}),
    ],
)
def test_quantized_graphs_are_near_the_model_and_blind_to_company(
    tiny_qwen3: Checkpoint,
    truth: Any,
    few_texts: Path,
    tmp_path: Path,
    scheme: str,
    most: float,
    options: dict[str, str],
) -> None:
    export_onnx(tiny_qwen3, tmp_path / "a", scheme=scheme, calibration=few_texts, **options)
    check_near_and_blind_to_company(open_artifact(tmp_path / "a"), truth, most=most)


def test_openvino_int8_rounds_what_onnx_int8_rounds(
    tiny_qwen3: Checkpoint, few_texts: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    for name, export in (("onnx", export_onnx), ("openvino", export_openvino)):
        export(tiny_qwen3, tmp_path / name, scheme="int8", calibration=few_texts)
    ours, theirs = (open_artifact(tmp_path / name).encode(TEXTS) for name in ("onnx", "openvino"))
    assert (1 - (ours * theirs).sum(axis=1)).max() < 1e-5


def test_a_residual_stream_beyond_fp16_is_scaled_into_it(few_texts: Path, tmp_path: Path) -> None:
    folder = make_tiny_qwen3(tmp_path / "tiny", dtype="float32")
    path = folder / "model.safetensors"
    weights = {name: read_tensor(info) for name, info in read_header(path).items()}
    weights["layers.0.mlp.down_proj.weight"] *= 1e5
    save_tensors(path, weights, dtype="float32")
    checkpoint = read_checkpoint(folder)
    truth = TorchReference(checkpoint, dtype="float32", device="cpu").encode(TEXTS)
    assert not np.isfinite(run_backbone(checkpoint, TEXTS, dtype="float16")).all()
    manifest = export_onnx(checkpoint, tmp_path / "a", scheme="fp16", calibration=few_texts)
    assert manifest.fp16 is not None and manifest.fp16.residual_exponent < -10
    for layer in manifest.fp16.layers:
        scales = layer.scales
        assert scales["value"] + scales["output"] == manifest.fp16.residual_exponent
        assert scales["up"] + scales["down"] == manifest.fp16.residual_exponent
    found = open_artifact(tmp_path / "a").encode(TEXTS)
    assert (1 - (found * truth).sum(axis=1)).max() < 1e-3


@pytest.mark.slow
def test_4096_tokens_are_the_model_too(tmp_path: Path) -> None:
    folder = make_tiny_qwen3(tmp_path / "long", layers=2, positions=32768, max_tokens=4096)
    checkpoint = read_checkpoint(folder)
    texts = ["第一条 出租人应当按照约定将租赁物交付承租人。" * 400]
    assert len(token_rows(checkpoint, texts)[0]) == 4096
    truth = TorchReference(checkpoint, dtype="float32", device="cpu").encode(texts)
    export_onnx(checkpoint, tmp_path / "a")
    np.testing.assert_allclose(open_artifact(tmp_path / "a").encode(texts), truth, **EXACT)


def test_without_a_limit_of_its_own_it_reads_as_far_as_its_positions(tmp_path: Path) -> None:
    folder = make_tiny_qwen3(tmp_path / "tiny", positions=32768, max_tokens=None)
    assert read_checkpoint(folder).max_tokens == 32768
