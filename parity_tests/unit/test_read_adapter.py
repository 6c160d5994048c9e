"""What is read of an adapter, and what is refused by name. Written by hand, without torch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.checkpoint.read import read_checkpoint
from exporter.errors import BadInput
from parity_tests.layout import save_tensors
from parity_tests.tiny_adapter import CONFIG, PREFIX, Q, Tensors, tensors_of, write_adapter
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

GEOMETRY: dict[str, Any] = {"hidden": 48, "heads": 3, "head_dim": 16, "matryoshka_dims": (48, 16)}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `model`, a base, and `adapter`, beside it."""
    folder = tmp_path_factory.mktemp("sound")
    make_tiny_checkpoint(folder / "model", layers=2, **GEOMETRY)
    write_adapter(folder / "adapter", CONFIG, tensors_of())
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "both")
    return tmp_path / "both"


def test_a_weight_is_the_bases_with_the_product_added(folder: Path) -> None:
    base, merged = read_checkpoint(folder / "model"), read_checkpoint(folder / "adapter")
    name, tensors = Q.format(1), tensors_of()
    a, b = (tensors[f"{PREFIX}{name}.lora_{part}.weight"].astype(np.float64) for part in "AB")
    expected = base.tensor(f"{name}.weight") + 2.0 * (b @ a)
    np.testing.assert_array_equal(merged.tensor(f"{name}.weight"), expected.astype(np.float32))
    kept = "layers.1.self_attn.k_proj.weight"
    np.testing.assert_array_equal(merged.tensor(kept), base.tensor(kept))
    assert (merged.name, merged.path) == ("adapter", folder / "model")


def test_a_factor_is_of_the_last_name_that_a_pattern_fits(folder: Path) -> None:
    config = {**CONFIG, "alpha_pattern": {"layers.1.self_attn.q_proj": 2, "q_proj": 16}}
    adapter = write_adapter(folder / "adapter", {**config, "use_rslora": True}, tensors_of())
    found = read_checkpoint(adapter).adapter
    assert found is not None
    factors = {change.kind: change.factors for change in found.record.changes}
    assert factors == {"mlp.down_proj": (4.0,), "self_attn.q_proj": (1.0, 8.0)}


def test_both_files_decide_the_identity_and_are_named(folder: Path) -> None:
    before = read_checkpoint(folder / "adapter")
    hashes = {path: digest for path, _, digest in before.file_hashes()}
    assert {"model.safetensors", "adapter/adapter_model.safetensors"} <= set(hashes)
    other = {name: tensor * 2 for name, tensor in tensors_of().items()}
    write_adapter(folder / "adapter", CONFIG, other)
    after = {path: digest for path, _, digest in read_checkpoint(folder / "adapter").file_hashes()}
    assert {path for path in hashes if hashes[path] != after[path]} == {
        "adapter/adapter_model.safetensors"
    }


def test_modules_beside_the_adapter_are_used_instead_of_the_bases(folder: Path) -> None:
    adapter, base = folder / "adapter", folder / "model"
    for entry in base.iterdir():
        if entry.name in ("config.json", "model.safetensors"):
            continue
        copy = shutil.copytree if entry.is_dir() else shutil.copyfile
        copy(entry, adapter / entry.name)
    dense = {"linear.weight": np.full((128, 48), 0.5, np.float32)}
    save_tensors(adapter / "2_Dense" / "model.safetensors", dense)
    found = read_checkpoint(adapter)
    assert found.path == adapter
    np.testing.assert_array_equal(found.tensor("2_Dense/linear.weight"), dense["linear.weight"])
    names = [path for path, _, _ in found.file_hashes()]
    assert {"adapter_model.safetensors", "base/model.safetensors", "base/config.json"} <= set(names)
    assert "model.safetensors" not in names


@pytest.mark.parametrize("named", ["../model", "lawyer/model", "/far/away/model", "C:\\a\\model"])
def test_the_base_is_found_by_its_path_or_beside_the_adapter(folder: Path, named: str) -> None:
    adapter = write_adapter(
        folder / "adapter", {**CONFIG, "base_model_name_or_path": named}, tensors_of()
    )
    found = read_checkpoint(adapter).adapter
    assert found is not None
    assert found.base == folder / "model"
    assert found.record.base_named == (named if named == "lawyer/model" else "model")


def test_a_base_that_is_named_holds_and_another_name_is_warned_of(folder: Path) -> None:
    (folder / "model").rename(folder / "renamed")
    found = read_checkpoint(folder / "adapter", base=str(folder / "renamed"))
    warned = {f.id: f for f in found.findings if f.severity == "warning"}
    assert set(warned) == {"adapter-base"}
    assert "names the base 'lawyer/model', used is 'renamed'" in warned["adapter-base"].evidence


def warnings_of(folder: Path, tensors: Tensors, **config: Any) -> dict[str, str]:
    found = read_checkpoint(write_adapter(folder / "adapter", {**CONFIG, **config}, tensors))
    return {f.id: f.evidence for f in found.findings if f.severity == "warning"}


def test_an_adapter_that_changes_nothing_is_warned_of(folder: Path) -> None:
    assert warnings_of(folder, tensors_of()) == {}
    idle = {name: t * (0 if "q_proj.lora_B" in name else 1) for name, t in tensors_of().items()}
    assert warnings_of(folder, idle) == {
        "adapter-idle": "the adapter changes nothing in self_attn.q_proj"
    }


def test_an_adapter_larger_than_its_base_is_warned_of(folder: Path) -> None:
    warned = warnings_of(folder, tensors_of(), lora_alpha=8000)
    assert set(warned) == {"adapter-large"}
    assert "mlp.down_proj (" in warned["adapter-large"]


@pytest.mark.parametrize(("version", "warned"), [("0.18.0", False), ("0.17.1", True), (None, True)])
def test_an_embedding_changed_by_an_early_peft_is_warned_of(
    folder: Path, version: str | None, warned: bool
) -> None:
    rows = read_checkpoint(folder / "model").tensors["embed_tokens.weight"].shape[0]
    table = PREFIX + "embed_tokens.lora_embedding_"
    tensors = {
        f"{table}A": np.full((4, rows), 1e-3, np.float32),
        f"{table}B": np.full((48, 4), 1e-3, np.float32),
    }
    found = warnings_of(folder, tensors, target_modules=["embed_tokens"], peft_version=version)
    assert ("adapter-embedding" in found) == warned


def changed(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        write_adapter(folder / "adapter", {**CONFIG, **values}, tensors_of())

    return change


def with_tensors(change: Callable[[Tensors], Tensors]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_adapter(folder / "adapter", CONFIG, change(tensors_of()))

    return write


def without(end: str) -> Callable[[Path], None]:
    return with_tensors(lambda tensors: {n: t for n, t in tensors.items() if not n.endswith(end)})


def also(name: str, *shape: int, value: float = 1) -> Callable[[Path], None]:
    return with_tensors(
        lambda tensors: {**tensors, PREFIX + name: np.full(shape, value, np.float32)}
    )


def truncate(folder: Path) -> None:
    path = folder / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def only_pickled(folder: Path) -> None:
    path = folder / "adapter" / "adapter_model.safetensors"
    path.rename(path.with_suffix(".bin"))


def no_weights(folder: Path) -> None:
    (folder / "adapter" / "adapter_model.safetensors").unlink()


def no_base(folder: Path) -> None:
    shutil.rmtree(folder / "model")


def edit_base(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")

    return change


def another_base(**geometry: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        shutil.rmtree(folder / "model")
        make_tiny_checkpoint(folder / "model", **{**GEOMETRY, "layers": 2, **geometry})

    return change


def base_is_an_adapter(folder: Path) -> None:
    (folder / "model" / "adapter_config.json").write_text(json.dumps(CONFIG), "utf-8")


B = "layers.1.self_attn.q_proj.lora_B.weight"
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no base": (changed(base_model_name_or_path="/gone/base"), "'/gone/base', which is not there"),
    "no base named": (changed(base_model_name_or_path=None), "names no base"),
    "a base that is no name": (changed(base_model_name_or_path="a\nb"), r"no name; mend it"),
    "a base of a number": (changed(base_model_name_or_path=7), "base_model_name_or_path is '7'"),
    "base of another width": (another_base(hidden=64, matryoshka_dims=(64,)), "the base asks for"),
    "base with fewer layers": (
        another_base(layers=1),
        "'layers.1.*', which the base does not have",
    ),
    "base of another architecture": (
        edit_base(model_type="mpnet"),
        "have a graph here, and of .*model_type is 'mpnet'",
    ),
    "base is quantized": (
        edit_base(quantization_config={"quant_method": "bitsandbytes"}),
        r"is quantized \(bitsandbytes",
    ),
    "base with code": (edit_base(auto_map={"AutoModel": "x.Y"}), "auto_map"),
    "base is an adapter": (base_is_an_adapter, "is an adapter itself"),
    "truncated": (truncate, "truncated"),
    "pickled": (only_pickled, r"pickled adapter only \(adapter_model.bin\)"),
    "no weights": (no_weights, "adapter_model.safetensors' is missing"),
    "empty": (with_tensors(lambda tensors: {}), "holds no tensors"),
    "without A": (
        without("1.self_attn.q_proj.lora_A.weight"),
        "'layers.1.self_attn.q_proj.weight' lacks lora_A",
    ),
    "without B": (without(B), "'layers.1.self_attn.q_proj.weight' lacks lora_B"),
    "without a layer": (
        with_tensors(lambda tensors: {n: t for n, t in tensors.items() if "1.self_attn" not in n}),
        "nothing for 'layers.1.self_attn.q_proj', which",
    ),
    "target not in base": (
        also("layers.0.self_attn.query.lora_A.weight", 4, 48),
        "self_attn.query'",
    ),
    "head": (also("lm_head.weight", 512, 48), "changes 'lm_head.weight', which the base does not"),
    "classifier": (also("classifier.weight", 2, 48), "changes 'classifier.weight', which"),
    "bias": (also("layers.0.self_attn.q_proj.bias", 48), "q_proj.bias', which the base does not"),
    "module out of the chain": (also("9.linear.weight", 4, 48), "changes '9.linear.weight', which"),
    "norm with a product": (also("norm.lora_A.weight", 4, 48), "one of a matrix, but"),
    "other shape": (also("norm.weight", 47), r"shape \[47\], the base asks for \[48\]"),
    "twice": (also("model." + B, 48, 4), "changes 'layers.1.self_attn.q_proj.weight' twice"),
    "no prefix": (
        with_tensors(lambda tensors: {n.removeprefix(PREFIX): t for n, t in tensors.items()}),
        "does not begin with 'base_model.model.'",
    ),
    "NaN": (also("norm.weight", 48, value=float("nan")), "holds NaN or Inf"),
    "overflow": (also("norm.weight", 48, value=float("inf")), "holds NaN or Inf"),
    "rank of the config": (changed(r=8), "has rank 4, 'adapter_config.json' says 8"),
    "rank of a pattern": (changed(rank_pattern={"down_proj": 2}), "has rank 4, .* says 2"),
    "rank 0": (changed(r=0), "r is 0, not a whole number from 1 up"),
    "rank as text": (changed(r="4"), "r is '4'"),
    "alpha": (changed(lora_alpha=-1), "lora_alpha is -1, not a positive number"),
    "a pattern that runs for ever": (changed(alpha_pattern={"(a+)+b": 1}), "too intricate"),
    "a pattern that is none": (changed(alpha_pattern={"(": 1}), "no regular expression"),
    "patterns that are no table": (changed(rank_pattern=["q_proj"]), "rank_pattern is no table"),
    "targets that are no names": (changed(target_modules=[1]), "target_modules is no list"),
    "VeRA": (changed(peft_type="VERA"), r"peft_type 'VERA' is not merged here \(known: LORA"),
    "prompt tuning": (changed(peft_type="PROMPT_TUNING"), "peft_type 'PROMPT_TUNING'"),
    "no type": (changed(peft_type=None), "peft_type None"),
    "PiSSA": (changed(init_lora_weights="pissa_niter_4"), "init_lora_weights is 'pissa_niter_4'"),
    "a setting that is not known": (changed(use_qalora=True), "'use_qalora' is set, which is not"),
    "replicated layers": (changed(layer_replication=[[0, 2]]), "'layer_replication' is set"),
    "trained tokens": (changed(trainable_token_indices=[5]), "'trainable_token_indices' is set"),
    "DoRA without lengths": (changed(use_dora=True), "lacks lora_magnitude_vector"),
    "lengths without DoRA": (
        also("layers.0.self_attn.q_proj.lora_magnitude_vector", 48),
        "has lora_magnitude_vector too",
    ),
    "code": (changed(auto_map={"AutoModel": "x.Y"}), "auto_map"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_merged_rightly_is_refused_by_name(case: str, folder: Path) -> None:
    breaks, said = BROKEN[case]
    breaks(folder)
    with pytest.raises(BadInput, match=said) as raised:
        read_checkpoint(folder / "adapter")
    assert "\n" not in str(raised.value)


def test_a_base_of_the_hub_that_is_not_to_be_had_is_said_with_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = {}

    def refuse(name: str, **given: Any) -> str:
        asked.update(given, name=name)
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    no_base(folder)
    changed(revision="abc")(folder)
    with pytest.raises(BadInput, match=r"is missing: 'lawyer/model'.*no network.*--base"):
        read_checkpoint(folder / "adapter")
    assert (asked["name"], asked["revision"]) == ("lawyer/model", "abc")


def test_a_base_of_the_hub_is_recorded_with_its_commit(folder: Path) -> None:
    snapshot = folder / "models--lawyer--model" / "snapshots" / ("c" * 40)
    snapshot.parent.mkdir(parents=True)
    (folder / "model").rename(snapshot)
    found = read_checkpoint(folder / "adapter", base=str(snapshot)).adapter
    assert found is not None
    assert (found.record.base, found.record.revision) == ("lawyer/model", "c" * 40)


def test_a_product_that_overflows_is_refused(folder: Path) -> None:
    huge = {name: tensor * np.float32(1e30) for name, tensor in tensors_of().items()}
    write_adapter(folder / "adapter", CONFIG, huge)
    with pytest.raises(BadInput, match=r"'mlp\.down_proj' is not finite once the adapter in"):
        read_checkpoint(folder / "adapter")


def test_a_base_that_is_named_and_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"no such base folder: 'nowhere'; pass --base"):
        read_checkpoint(folder / "adapter", base="nowhere")


def test_a_base_for_a_whole_checkpoint_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match="is no adapter but a whole checkpoint; leave --base out"):
        read_checkpoint(folder / "model", base=str(folder / "adapter"))
