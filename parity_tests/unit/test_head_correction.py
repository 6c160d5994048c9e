import numpy as np
import pytest

pytest.importorskip("torch")

from exporter.quantization.head import correct_head


def made(bias: float, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    head = rng.standard_normal((24, 16)).astype(np.float32)
    reference = rng.standard_normal((300, 24)).astype(np.float32)
    turn = np.eye(24) + bias * rng.standard_normal((24, 24))
    quantized = reference @ turn + noise * rng.standard_normal(reference.shape)
    return head, reference, quantized.astype(np.float32)


def test_a_systematic_error_is_undone() -> None:
    head, reference, quantized = made(bias=0.05, noise=0.0)
    fitted, record = correct_head(head, reference, quantized, choice="auto")
    assert record.applied
    assert record.error_after < 0.2 * record.error_before
    wrong = np.abs(quantized @ head - reference @ head).mean()
    assert np.abs(quantized @ fitted - reference @ head).mean() < 0.2 * wrong


def test_noise_is_left_alone_unless_asked() -> None:
    head, reference, quantized = made(bias=0.0, noise=0.05)
    fitted, record = correct_head(head, reference, quantized, choice="auto")
    assert not record.applied
    np.testing.assert_array_equal(fitted, head)
    _, asked = correct_head(head, reference, quantized, choice="on")
    assert asked.applied


def test_held_out_texts_decide_not_the_fitted_ones() -> None:
    # Fewer texts than channels: a fit without restraint would be perfect on them.
    head, reference, quantized = (a[:20] if len(a) == 300 else a for a in made(0.0, 0.3))
    _, record = correct_head(head, reference, quantized, choice="auto")
    assert record.held_out == 6
    assert record.error_after > 0.5 * record.error_before
