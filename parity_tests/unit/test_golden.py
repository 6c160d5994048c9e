"""golden.json finds what a careless copy or server does to a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.records import Checkpoint, Prompts
from exporter.gguf.export import export_gguf
from exporter.package.golden import Golden, build_golden, check_golden
from exporter.records import canonical_json
from exporter.runtimes.encoder import Vectors
from exporter.runtimes.llamacpp import LlamaCppEncoder
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

EOS = 1


@pytest.fixture(scope="module")
def artifacts(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    for kind in ("f32", "q8_0"):
        export_gguf(tiny, folder / kind, type_name=kind)
    return folder


@pytest.fixture(scope="module")
def encoder(artifacts: Path) -> LlamaCppEncoder:
    return LlamaCppEncoder(artifacts / "q8_0")


@pytest.fixture(scope="module")
def reference(artifacts: Path) -> LlamaCppEncoder:
    """The f32 GGUF: 1e-7 from torch fp32, and loaded faster."""
    return LlamaCppEncoder(artifacts / "f32")


@pytest.fixture(scope="module")
def golden(encoder: LlamaCppEncoder, reference: LlamaCppEncoder) -> Golden:
    return build_golden(encoder, reference, Prompts())


class WithoutEnd(LlamaCppEncoder):
    """Loses EOS, as a runtime does that truncates by itself."""

    only_when_cut = False

    def _ids(self, text: str) -> list[int]:
        ids = super()._ids(text)
        return ids if self.only_when_cut and len(ids) < self._limit else ids[:-1]


class WithoutEndWhenCut(WithoutEnd):
    only_when_cut = True


class Prompting(LlamaCppEncoder):
    """Puts a prompt of its own before each text."""

    def _ids(self, text: str) -> list[int]:
        return super()._ids("task: search result | query: " + text)


class NotANumber(LlamaCppEncoder):
    def encode(self, texts: Sequence[str], **options: Any) -> Vectors:
        return super().encode(texts, **options) * np.float32("nan")


def test_the_artifact_itself_passes(golden: Golden, encoder: LlamaCppEncoder) -> None:
    assert check_golden(golden, encoder) == []


def test_one_text_is_cut_and_keeps_its_end(golden: Golden, tiny: Checkpoint) -> None:
    cut = [entry for entry in golden.texts if len(entry.token_ids) == tiny.max_tokens]
    assert cut
    assert cut[-1].token_ids[-1] == EOS


@pytest.mark.parametrize("careless", [WithoutEnd, WithoutEndWhenCut, Prompting])
def test_a_dropped_end_or_a_wrong_prompt_fails_by_ids_and_by_vectors(
    golden: Golden, artifacts: Path, careless: type[LlamaCppEncoder]
) -> None:
    failures = check_golden(golden, careless(artifacts / "q8_0"))
    assert any("other token ids" in line for line in failures)
    assert any("to its own vector" in line for line in failures)


def test_a_swapped_artifact_fails(golden: Golden, tmp_path: Path) -> None:
    other = read_checkpoint(make_tiny_checkpoint(tmp_path / "tiny", seed=9))
    export_gguf(other, tmp_path / "g")
    failures = check_golden(golden, LlamaCppEncoder(tmp_path / "g"))
    assert any("to its own vector" in line for line in failures)
    assert any("to the reference" in line for line in failures)


def test_vectors_that_are_no_numbers_fail(golden: Golden, artifacts: Path) -> None:
    assert len(check_golden(golden, NotANumber(artifacts / "q8_0"))) == 2 * len(golden.texts)


def test_another_width_is_said_once(golden: Golden, tmp_path: Path) -> None:
    other = make_tiny_checkpoint(tmp_path / "tiny", hidden=96, matryoshka_dims=())
    export_gguf(read_checkpoint(other), tmp_path / "g")
    failures = check_golden(golden, LlamaCppEncoder(tmp_path / "g"))
    assert sum("96 dimensions instead of 64" in line for line in failures) == 1


def test_the_limit_to_the_reference_lets_through_what_the_own_limit_lets_through(
    golden: Golden,
) -> None:
    """A vector at the own limit, turned straight away from the reference, still passes."""
    entry = min(golden.texts, key=lambda e: e.cosine_to_reference)
    own, truth = (np.asarray(v, np.float64) for v in (entry.vector, entry.reference))
    away = own - truth * (own @ truth)
    away -= own * (away @ own)
    away /= np.linalg.norm(away)
    c = golden.cosine_to_own_min
    turned = c * own + np.sqrt(1 - c * c) * away
    assert turned @ truth >= golden.cosine_to_reference_min - 1e-7  # 7 digits are stored


def test_the_same_input_gives_the_same_bytes(
    golden: Golden, encoder: LlamaCppEncoder, reference: LlamaCppEncoder
) -> None:
    assert canonical_json(build_golden(encoder, reference, Prompts())) == canonical_json(golden)
