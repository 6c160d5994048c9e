"""An adapter merged here gives the vectors that PEFT's own unmerged layers give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.checkpoint.read import read_checkpoint
from parity_tests.tiny_adapter import Wrap, make_adapter, write_merged
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")
peft = pytest.importorskip("peft")

from exporter.runtimes.torch_reference import TorchReference  # noqa: E402

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
