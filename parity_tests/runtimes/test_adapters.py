"""An adapter merged here gives the vectors that PEFT's own unmerged layers give."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.checkpoint.read import read_checkpoint
from exporter.errors import BadInput, MissingDependency
from exporter.runtimes.original import open_original
from parity_tests.tiny_adapter import Wrap, make_adapter, write_merged
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")
peft = pytest.importorskip("peft")

from exporter.runtimes.torch_reference import TorchReference, quiet  # noqa: E402

GEOMETRY: dict[str, Any] = {"hidden": 48, "heads": 3, "head_dim": 16, "matryoshka_dims": (48, 16)}
TEXTS = (
    "房东不退押金怎么办？",
    "title: 住房租赁条例 第十二条 | text: 押金应当在七日内退还。\n逾期的，按日付利息。",
    "押金" * 200,
    "a",
)
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(tmp_path_factory.mktemp("adapters") / "model", **GEOMETRY)


def lora(**given: Any) -> Any:
    return peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": LINEAR, **given})


KINDS: dict[str, tuple[Callable[[], Any], Wrap]] = {
    "lora": (lora, "backbone"),
    "lora-saved-by-sentence-transformers": (
        lambda: lora(task_type="FEATURE_EXTRACTION"),
        "sentence-transformers",
    ),
    "lora-of-a-language-model": (lambda: lora(task_type="CAUSAL_LM"), "causal"),
    "lora-of-all-modules": (lambda: lora(target_modules=[*LINEAR, "linear"]), "whole"),
    "rslora-with-patterns": (
        lambda: lora(
            use_rslora=True,
            rank_pattern={"layers.2.self_attn.q_proj": 2, r"layers\.[34]\.mlp\.up_proj": 3},
            alpha_pattern={"down_proj": 3, "layers.1.self_attn.q_proj": 9},
        ),
        "backbone",
    ),
    "all-linear-and-norms-saved-whole": (
        lambda: lora(target_modules="all-linear", modules_to_save=["norm"], bias="all"),
        "backbone",
    ),
    "targets-by-a-pattern": (
        lambda: lora(target_modules=r".*\.(q|v)_proj", fan_in_fan_out=True),
        "backbone",
    ),
    "some-layers": (lambda: lora(layers_to_transform=[1, 3]), "causal"),
    "embedding": (lambda: lora(target_modules=["embed_tokens", "q_proj"]), "backbone"),
    "embedding-saved-whole": (lambda: lora(modules_to_save=["embed_tokens"]), "backbone"),
    "dora": (lambda: lora(use_dora=True), "backbone"),
    "dora-of-all-modules": (lambda: lora(use_dora=True, target_modules=["linear"]), "whole"),
    "loha": (lambda: peft.LoHaConfig(r=3, alpha=5, target_modules=LINEAR), "backbone"),
    "ia3": (
        lambda: peft.IA3Config(target_modules=LINEAR, feedforward_modules=["down_proj"]),
        "backbone",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_adapter_gives_the_vectors_of_peft_unmerged(
    kind: str, base: Path, tmp_path: Path
) -> None:
    make, wrap = KINDS[kind]
    adapter = make_adapter(tmp_path / "adapter", base, make(), wrap=wrap)
    checkpoint = read_checkpoint(adapter, base=str(base))
    unmerged = TorchReference(checkpoint, dtype="float32", device="cpu")
    assert any(type(m).__module__.startswith("peft") for m in unmerged._model.modules())
    merged = read_checkpoint(write_merged(checkpoint, tmp_path / "merged"))
    ours = TorchReference(merged, dtype="float32", device="cpu").encode(TEXTS)
    plain = TorchReference(read_checkpoint(base), dtype="float32", device="cpu").encode(TEXTS)
    theirs = unmerged.encode(TEXTS)
    # fp32 in another order of operations; measured up to 5e-7.
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.abs(theirs - plain).max() > 1e-3


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an adapter as sentence-transformers saves it, its modules and tokenizer beside it."""
    folder = tmp_path_factory.mktemp("saved") / "adapter"
    return make_adapter(folder, base, lora(), wrap="sentence-transformers")


def test_the_reference_is_what_load_adapter_of_sentence_transformers_gives(
    adapter: Path, base: Path
) -> None:
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer

    with quiet():
        model = SentenceTransformer(str(base), device="cpu", local_files_only=True)
        model.load_adapter(str(adapter))
    for i, name in ((2, "2_Dense"), (3, "3_Dense")):  # trained along, and saved beside the adapter
        model[i].load_state_dict(load_file(adapter / name / "model.safetensors"))
    texts = ["押金", "租赁合同"]
    expected = model.encode(texts, normalize_embeddings=True)
    reference = TorchReference(read_checkpoint(adapter), dtype="float32", device="cpu")
    np.testing.assert_allclose(reference.encode(texts), expected, atol=1e-6)


def test_the_bf16_reference_runs_the_adapter_as_peft_gives_it_precision(adapter: Path) -> None:
    checkpoint = read_checkpoint(adapter)
    bf16 = TorchReference(checkpoint, dtype="bfloat16", device="cpu")
    dtypes = {n.rpartition("lora_")[1]: p.dtype for n, p in bf16._model.named_parameters()}
    assert {name: str(dtype) for name, dtype in dtypes.items()} == {
        "": "torch.bfloat16",
        "lora_": "torch.float32",
    }
    truth = TorchReference(checkpoint, dtype="float32", device="cpu").encode(TEXTS)
    # Rounding to 8 bits of mantissa; measured 0.9999.
    assert (bf16.encode(TEXTS) * truth).sum(axis=1).min() > 0.9998


def test_a_tensor_that_peft_does_not_take_stops_the_reference(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read_checkpoint(adapter)
    renamed = peft.set_peft_model_state_dict

    def load(model: Any, state: dict[str, Any]) -> Any:
        return renamed(model, {n: t for n, t in state.items() if "layers.0" not in n})

    monkeypatch.setattr(peft, "set_peft_model_state_dict", load)
    with pytest.raises(BadInput, match=r"PEFT did not load .*layers\.0.* so it proves nothing"):
        TorchReference(checkpoint, dtype="float32", device="cpu")


def test_without_peft_the_references_name_the_extra(
    adapter: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    open_original(read_checkpoint(base))
    with pytest.raises(MissingDependency, match=r"'peft'.*lawvault-exporter\[adapter\]"):
        open_original(read_checkpoint(adapter))


def test_a_window_that_is_repaired_is_the_bases(tmp_path: Path) -> None:
    base = make_tiny_checkpoint(tmp_path / "model", window=17, **GEOMETRY)
    folder = make_adapter(tmp_path / "adapter", base, lora(), wrap="sentence-transformers")
    checkpoint = read_checkpoint(folder, window="repaired")
    original = open_original(checkpoint)
    assert original.other_window is not None
    repaired, saved = original.truth.open(), original.other_window.open()
    assert np.abs(repaired.encode(TEXTS) - saved.encode(TEXTS)).max() > 1e-4
