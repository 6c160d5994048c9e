import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")

from exporter.architectures.gemma3.layer import FP16
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.calibration import calibration_inputs, read_calibration
from exporter.errors import BadInput
from exporter.quantization.forward import run_backbone
from exporter.quantization.inputs import token_rows
from exporter.quantization.measured import Rescaling, no_rescaling, range_records
from exporter.quantization.ranges import compare_fp16, measure_fp16, measure_ranges
from exporter.quantization.rescale import RescaledWeights, choose_rescaling
from exporter.quantization.weights import ModelWeights
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.conftest import MINIATURE, TEXTS
from parity_tests.layout import save_tensors
from parity_tests.miniature.harden import harden
from parity_tests.runtimes.test_onnx_built import variant


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(harden(MINIATURE, tmp_path_factory.mktemp("hard") / "hard"))


@pytest.fixture(scope="module")
def inputs(hard: Checkpoint) -> list[str]:
    return calibration_inputs(read_calibration(None)[:24], hard.prompts)


def vectors(checkpoint: Checkpoint, pooled: np.ndarray) -> np.ndarray:
    dense = ModelWeights(checkpoint).head(dim=checkpoint.dim)
    made = pooled if dense is None else pooled @ dense
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_the_forward_pass_of_calibration_is_torch(tiny: Checkpoint) -> None:
    found = vectors(tiny, run_backbone(tiny, TEXTS))
    expected = TorchReference(tiny, dtype="float32").encode(TEXTS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "shape",
    [
        {"heads": 4, "kv_heads": 2, "head_dim": 8, "layers": 7, "hidden": 40},
        {
            "heads": 1,
            "head_dim": 32,
            "layers": 2,
            "window": 4,
            "config": {"query_pre_attn_scalar": 7},
        },
    ],
)
def test_it_is_torch_for_other_shapes_too(tmp_path: Path, shape: dict[str, int]) -> None:
    checkpoint = variant(tmp_path / "other", **shape)
    found = vectors(checkpoint, run_backbone(checkpoint, TEXTS))
    expected = TorchReference(checkpoint, dtype="float32").encode(TEXTS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_any_power_of_two_leaves_the_function_as_it_is(tiny: Checkpoint) -> None:
    rng = np.random.default_rng(0)
    layers = tiny.architecture.num_layers  # type: ignore[union-attr]
    drawn = rng.integers(-12, 13, (layers, 6)).tolist()
    scales = tuple(
        dict(zip(("query", "key", "value", "output", "up", "down"), row, strict=True))
        for row in drawn
    )
    weights = RescaledWeights(tiny, Rescaling(plan=FP16, residual=-17, layers=scales))
    np.testing.assert_allclose(
        run_backbone(tiny, TEXTS, weights=weights), run_backbone(tiny, TEXTS), rtol=1e-6, atol=1e-6
    )


def test_forgetting_one_eps_is_seen_by_that_test(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = tiny.architecture.num_layers  # type: ignore[union-attr]
    small = Rescaling(plan=FP16, residual=-12, layers=({},) * layers)
    expected = run_backbone(tiny, TEXTS)
    monkeypatch.setattr(Rescaling, "norm_exponent", lambda self, name: 0)
    found = run_backbone(tiny, TEXTS, weights=RescaledWeights(tiny, small))
    assert np.abs(found - expected).max() > 1e-3


def test_plain_fp16_breaks_on_the_hardened_checkpoint_and_rescaled_fp16_does_not(
    hard: Checkpoint, inputs: list[str]
) -> None:
    torch = pytest.importorskip("torch")
    plain = TorchReference(hard, dtype="float32", device="cpu")
    truth = plain.encode(inputs)
    plain._model.half()
    with torch.inference_mode(), pytest.raises(BadInput, match=f"not finite .*{len(inputs)} of"):
        plain.encode(inputs)
    assert not np.isfinite(run_backbone(hard, inputs, dtype="float16")).any()
    rescaling, _ = measure_fp16(hard, inputs)
    weights = RescaledWeights(hard, rescaling)
    found = vectors(hard, run_backbone(hard, inputs, weights=weights, dtype="float16"))
    # 0.9999996 was measured, squares of norms in float16 included.
    assert (found * truth).sum(axis=1).min() >= 0.9999


def test_the_records_say_where_each_layer_lies(hard: Checkpoint, inputs: list[str]) -> None:
    found = compare_fp16(hard, inputs)
    assert [r.layer for r in found["rescaled"]] == list(range(6))
    for before, after in zip(found["as saved"], found["rescaled"], strict=True):
        assert before.headroom < 1  # it overflows, at the residual
        assert before.largest_site == "residual"
        assert after.headroom > 60
        assert after.row_headroom >= 2
        assert after.underflow < 0.001
    # Of the largest power of two that fits: the longest row of the model is above a quarter.
    assert min(r.row_headroom for r in found["rescaled"]) < 4


def test_the_exponents_are_shifted_not_measured_again(hard: Checkpoint, inputs: list[str]) -> None:
    ranges = measure_ranges(hard, inputs[:4])
    down = Rescaling(plan=FP16, residual=-40, layers=({},) * 6)
    low = range_records(ranges, down)
    assert all(r.underflow > 0.1 for r in low)
    assert all(r.underflow < 0.001 for r in range_records(ranges, choose_rescaling(hard, ranges)))
    assert low[0].headroom > range_records(ranges, no_rescaling(FP16, 6))[0].headroom


def test_a_text_whose_activations_are_not_finite_is_named(tiny: Checkpoint, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny.path, tmp_path / "large"))
    tensors = {n: tiny.tensor(n) for n in tiny.tensors if "/" not in n}
    texts = ["租金", "押金多少", "退"]
    rows = token_rows(tiny, texts)
    (token,) = sorted(set(rows[1]) - {*rows[0], *rows[2]})[:1]
    tensors["embed_tokens.weight"][token] = 3e38
    save_tensors(folder / "model.safetensors", tensors, dtype="float32")
    with pytest.raises(BadInput, match=r"1 of 3 calibration texts .* first '押金多少'") as raised:
        measure_ranges(read_checkpoint(folder), texts)
    assert "\n" not in str(raised.value)


def test_rows_too_long_for_any_eps_are_refused(tiny: Checkpoint, tmp_path: Path) -> None:
    far = read_checkpoint(harden(tiny.path, tmp_path / "far", residual_gain=2.0**56))
    with pytest.raises(BadInput, match=r"eps would have to be .* export with --quant fp32"):
        measure_fp16(far, list(TEXTS))
