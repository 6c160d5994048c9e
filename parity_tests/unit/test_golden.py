"""golden.json finds what a careless copy or server does to a model, and says what it was."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.packages.golden import Golden, distance_limits
from exporter.packages.golden_check import check_answers, check_golden
from exporter.records import canonical_json
from exporter.runtimes.encoder import Vectors
from exporter.runtimes.torch_reference import TorchReference
from exporter.vectors.probes import LEAST_TOLERANCE
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE
from parity_tests.packaging import golden_of
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

EOS = 1
AT_LEAST = 3


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)


@pytest.fixture(scope="module")
def artifacts(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    for kind in ("q4_0", "q8_0"):
        export_gguf(checkpoint, folder / kind, scheme=kind)
    return folder


@pytest.fixture(scope="module", params=["q8_0", "q4_0"])
def folder(artifacts: Path, request: pytest.FixtureRequest) -> Path:
    return artifacts / str(request.param)


@pytest.fixture(scope="module")
def golden(folder: Path, checkpoint: Checkpoint) -> Golden:
    return golden_of(LlamaCppEncoder(folder), checkpoint)


class Careless(LlamaCppEncoder):
    """Changes texts or their ids as `text` and `ids` say."""

    text: Callable[[str], str] = staticmethod(lambda text: text)
    ids: Callable[[list[int]], list[int]] = staticmethod(lambda ids: ids)

    def _ids(self, text: str) -> list[int]:
        return self.ids(super()._ids(self.text(text)))


class NotANumber(LlamaCppEncoder):
    def encode(self, texts: Sequence[str], **options: Any) -> Vectors:
        return super().encode(texts, **options) * np.float32("nan")


MISTAKES = {
    "texts without their end token": {"ids": lambda ids: ids[:-1]},
    "texts without their start token": {"ids": lambda ids: ids[1:]},
    "texts with a space in front": {"text": lambda text: " " + text},
    "texts with a newline at the end": {"text": lambda text: text + "\n"},
    "texts with another prompt in front": {
        "text": lambda text: "task: search result | query: " + text
    },
}


def careless(folder: Path, changed: dict[str, Any]) -> LlamaCppEncoder:
    kind = type("Changed", (Careless,), {k: staticmethod(v) for k, v in changed.items()})
    made: LlamaCppEncoder = kind(folder)
    return made


def test_the_artifact_itself_passes(golden: Golden, folder: Path) -> None:
    assert check_golden(golden, LlamaCppEncoder(folder)) == []


def test_one_text_is_cut_and_keeps_its_end(golden: Golden, checkpoint: Checkpoint) -> None:
    cut = [entry for entry in golden.texts if len(entry.token_ids) == checkpoint.max_tokens]
    assert cut
    assert cut[-1].token_ids[-1] == EOS


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_found_and_named(golden: Golden, folder: Path, said: str) -> None:
    encoder = careless(folder, MISTAKES[said])
    failures = check_golden(golden, encoder)
    assert any("other token ids" in line for line in failures)
    vectors = encoder.encode([text.text for text in golden.texts])
    assert check_answers(golden, None, vectors)[0] == f"these are the vectors of {said}"


def test_each_mistake_shows_on_three_texts_at_least(golden: Golden) -> None:
    shown = {mistake.said: len(mistake.at) for mistake in golden.mistakes}
    assert set(MISTAKES) < set(shown)
    assert min(shown.values()) >= AT_LEAST, shown


@pytest.mark.parametrize(("size", "window"), [("twice", 256), ("half", 65)])
def test_a_wrong_sliding_window_is_found_and_named(
    golden: Golden, folder: Path, checkpoint: Checkpoint, tmp_path: Path, size: str, window: int
) -> None:
    assert checkpoint.architecture is not None
    assert checkpoint.architecture.sliding_window == 128
    changed = checkpoint.architecture.model_copy(update={"sliding_window": window})
    wrong = replace(checkpoint, architecture=changed)
    export_gguf(wrong, tmp_path / "g", scheme=folder.name)
    failures = check_golden(golden, LlamaCppEncoder(tmp_path / "g"))
    said = f"these are the vectors of a model whose sliding window is {size} as wide"
    assert failures[:1] == [said]


def test_a_missing_dense_is_found_and_named(golden: Golden, checkpoint: Checkpoint) -> None:
    without = TorchReference(checkpoint, dtype="float32", dense=False)
    said = "these are the vectors of a model without its Dense layers"
    assert check_golden(golden, without)[0] == said


def test_a_text_whose_end_is_lost_where_it_is_cut_fails(tiny: Checkpoint, tmp_path: Path) -> None:
    full = tiny.max_tokens
    export_gguf(tiny, tmp_path / "g")
    golden = golden_of(LlamaCppEncoder(tmp_path / "g"), tiny)
    encoder = careless(tmp_path / "g", {"ids": lambda ids: ids[:-1] if len(ids) == full else ids})
    vectors = encoder.encode([text.text for text in golden.texts])
    assert "over the model's limit" in check_answers(golden, None, vectors)[0]


def test_the_original_itself_is_no_mistake(golden: Golden, checkpoint: Checkpoint) -> None:
    """It lies the file's own error away: as far as another build of its runtime may."""
    for dtype in ("float32", "bfloat16"):
        assert check_golden(golden, TorchReference(checkpoint, dtype=dtype)) == []  # type: ignore[arg-type]


def test_a_coarser_file_in_the_place_of_a_finer_one_fails(
    artifacts: Path, checkpoint: Checkpoint
) -> None:
    golden = golden_of(LlamaCppEncoder(artifacts / "q8_0"), checkpoint)
    failures = check_golden(golden, LlamaCppEncoder(artifacts / "q4_0"))
    assert failures[0].startswith("another file is served")


def test_another_model_fails(golden: Golden, folder: Path) -> None:
    vectors = LlamaCppEncoder(folder).encode([text.text for text in golden.texts])
    failures = check_answers(golden, None, np.roll(vectors, 1, axis=1))
    assert failures[0].startswith("another model is served")


def test_vectors_that_are_no_numbers_fail(golden: Golden, folder: Path) -> None:
    assert len(check_golden(golden, NotANumber(folder))) == 1 + len(golden.texts)


def test_another_width_is_said_once(golden: Golden, tmp_path: Path) -> None:
    other = make_tiny_checkpoint(tmp_path / "tiny", hidden=96, matryoshka_dims=())
    export_gguf(read_checkpoint(other), tmp_path / "g")
    vectors = LlamaCppEncoder(tmp_path / "g").encode([text.text for text in golden.texts])
    assert check_answers(golden, None, vectors) == ["96 dimensions instead of 256"]


def test_a_limit_is_four_errors_and_never_below_the_least() -> None:
    errors = np.array([0.0, 1e-3, 2e-3, 1e-1, 0.9])
    assert distance_limits(errors).tolist() == pytest.approx([8e-3, 8e-3, 8e-3, 0.4, 2])
    assert distance_limits(np.zeros(3)).tolist() == [LEAST_TOLERANCE] * 3


def test_the_same_input_gives_the_same_bytes(
    golden: Golden, folder: Path, checkpoint: Checkpoint
) -> None:
    again = golden_of(LlamaCppEncoder(folder), checkpoint)
    assert canonical_json(again) == canonical_json(golden)


@pytest.mark.parametrize("change", ["reference", "mistake", "place"])
def test_vectors_of_other_widths_or_texts_are_no_golden_vectors(
    golden: Golden, change: str
) -> None:
    data = golden.model_dump(mode="json")
    if change == "reference":
        data["texts"][1]["reference"] = data["texts"][1]["reference"][:10]
    elif change == "mistake":
        data["mistakes"][0]["vectors"][0] = [1.0]
    else:
        data["mistakes"][0]["at"][0] = len(data["texts"])
    with pytest.raises(ValidationError, match=r"different widths|other texts"):
        Golden.model_validate(data)
