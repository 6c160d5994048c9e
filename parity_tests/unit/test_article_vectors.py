"""Vectors that a search page brings along: how few bits they may have."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from exporter.api import export
from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput
from exporter.packages.transformersjs.article_vectors import (
    ABOUT_NAME,
    ARTICLES_NAME,
    coded,
    overlap_of_codes,
    read_some,
    write_vectors,
)
from exporter.packages.transformersjs.search_page import FIELDS
from exporter.records import canonical_json


def rows(count: int, dim: int, *, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


@pytest.mark.parametrize(("bits", "far"), [(8, 1e-4), (16, 2e-9)])
def test_codes_lie_near_what_they_stand_for(bits: int, far: float) -> None:
    vectors = rows(50, 256, seed=0)
    scales, codes = coded(vectors, bits=bits)
    made = codes.astype(np.float64) * scales[:, None]
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(made, axis=1) * np.linalg.norm(exact, axis=1)
    cosines = (made * exact).sum(axis=1) / lengths
    assert np.abs(codes).max() == 2 ** (bits - 1) - 1
    assert 1 - cosines.min() < far


def test_vectors_that_8_bits_cannot_tell_apart_lose_overlap() -> None:
    questions, vectors = rows(40, 32, seed=1), rows(300, 32, seed=2)
    assert overlap_of_codes(questions, vectors, bits=16) == 1.0
    near = vectors[:1] + 1e-4 * rows(300, 32, seed=3)  # all but one and the same
    near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    assert overlap_of_codes(questions, near, bits=8) < 0.9


ARTICLES = [(f"a{i}", f" 示例条例 第{i}条", f"第{i}条 押金应当在{i}日内退还。 ") for i in range(30)]


@pytest.mark.parametrize("count", [0, 19, 30])
def test_bits_follow_from_the_questions_and_the_vectors_are_read_again(
    tiny: Checkpoint, tmp_path: Path, count: int
) -> None:
    manifest = export(tiny, tmp_path / "fp32", format="onnx")
    questions = [f"第{i}条 押金应当在{i}日内退还。" for i in range(count)]
    stored = write_vectors(tmp_path, tmp_path / "fp32", manifest, ARTICLES, questions=questions)
    assert (stored.overlap_at_10 is None) == (count < 20)
    assert stored.bits == (8 if (stored.overlap_at_10 or 0) >= 0.99 else 16)
    about = {"vectors": {"fp32": stored.model_dump(mode="json")}}
    (tmp_path / ABOUT_NAME).write_text(canonical_json(about))
    lines = (canonical_json(dict(zip(FIELDS, a, strict=True))) for a in ARTICLES)
    (tmp_path / ARTICLES_NAME).write_text("".join(x.replace("\n", "") + "\n" for x in lines))
    found = read_some(tmp_path, "fp32", count=3)
    assert found is not None
    assert [article[0] for article in found[0]] == ["a0", "a14", "a29"]
    assert np.allclose(np.linalg.norm(found[1], axis=1), 1, atol=1e-3)
    (tmp_path / stored.file).write_bytes(b"1234")
    with pytest.raises(BadInput, match="do not go together"):
        read_some(tmp_path, "fp32", count=3)


def test_a_package_without_a_page_has_none(tmp_path: Path) -> None:
    assert read_some(tmp_path, "fp32", count=3) is None
