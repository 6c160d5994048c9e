"""The importance matrix: against torch's own hooks, and in llama.cpp's file format."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")
pytest.importorskip("torch")

import gguf
import torch

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.calibration import calibration_inputs, read_calibration
from exporter.errors import BadInput
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.imatrix import read_imatrix, write_imatrix
from exporter.formats.gguf.options import GgufOptions
from exporter.quantization.importance import measure_importance
from exporter.quantization.weights import ModelWeights
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.conftest import TEXTS
from parity_tests.tiny_checkpoint import make_tiny_checkpoint


def hooked(checkpoint: Checkpoint, texts: list[str]) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Sums of squared inputs of every Linear, from hooks on the modules that torch runs."""
    reference = TorchReference(checkpoint, dtype="float32")
    found: dict[str, Any] = {}

    def hook(name: str) -> Any:
        def see(module: Any, inputs: tuple[Any, ...]) -> None:
            rows = inputs[0].detach().double().reshape(-1, inputs[0].shape[-1])
            found[name] = found.get(name, 0) + rows.square().sum(dim=0).numpy()

        return see

    model = reference._model
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(hook(name))
    for text in texts:  # one at a time: no padding to leave out
        reference.encode([text])
    return found


def test_the_importances_are_what_hooks_on_torch_see(tiny: Checkpoint) -> None:
    texts = [text for text in TEXTS if text]
    measured, _ = measure_importance(ModelWeights(tiny), texts)
    expected = hooked(tiny, texts)
    matched = 0
    for name, sums in measured.sums.items():
        candidates = [k for k in expected if k.endswith(name) or _dense(k, name)]
        assert len(candidates) == 1, (name, list(expected))
        np.testing.assert_allclose(sums, expected[candidates[0]], rtol=1e-4, atol=1e-6)
        matched += 1
    assert matched == len(expected) == 7 * 6 + 2  # six layers of seven matrices, two Dense


def _dense(key: str, name: str) -> bool:
    """Match `2.linear` of a SentenceTransformer with `2_Dense`."""
    return name[0].isdigit() and key.split(".")[0] == name.split("_")[0]


def test_the_file_holds_sums_and_counts_in_llama_cpps_format(
    tiny: Checkpoint, tmp_path: Path
) -> None:
    measured, _ = measure_importance(ModelWeights(tiny), TEXTS[:4])
    path = tmp_path / "imatrix.gguf"
    write_imatrix(path, measured, tiny, texts=4, dataset="four texts")
    reader = gguf.GGUFReader(path)
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.datasets"].contents() == ["four texts"]
    assert reader.fields["imatrix.chunk_count"].contents() == 4
    tensors = {t.name: t.data for t in reader.tensors}
    assert "dense_2.weight.in_sum2" in tensors
    assert tensors["dense_3.weight.counts"].ravel().tolist() == [4]
    up = "layers.2.mlp.up_proj"
    np.testing.assert_allclose(
        tensors["blk.2.ffn_up.weight.in_sum2"].ravel(), measured.sums[up], rtol=1e-6
    )
    back = read_imatrix(path, tiny)
    np.testing.assert_allclose(back[up + ".weight"], measured.mean_square(up), rtol=1e-5)


def test_llama_quantize_takes_the_matrix_dense_included(tiny: Checkpoint, tmp_path: Path) -> None:
    plain = GgufOptions(plan="upstream")
    weighted = GgufOptions(plan="upstream", imatrix="on")
    files = {}
    for name, options in (("plain", plain), ("weighted", weighted)):
        manifest = export_gguf(tiny, tmp_path / name, scheme="q4_0", **vars(options))
        reader = gguf.GGUFReader(tmp_path / name / manifest.entry)
        files[name] = {t.name: np.array(t.data) for t in reader.tensors}
    assert (tmp_path / "weighted" / "imatrix.gguf").is_file()
    for name in ("dense_3.weight", "blk.1.ffn_up.weight"):
        assert not np.array_equal(files["plain"][name], files["weighted"][name]), name


def test_a_matrix_from_a_file_rounds_as_the_one_it_was_written_from(
    tiny: Checkpoint, tmp_path: Path
) -> None:
    options = GgufOptions(plan="upstream", imatrix="on")
    measured = export_gguf(tiny, tmp_path / "a", scheme="q4_0", **vars(options))
    given = GgufOptions(plan="upstream", imatrix=str(tmp_path / "a" / "imatrix.gguf"))
    read = export_gguf(tiny, tmp_path / "b", scheme="q4_0", **vars(given))
    first, second = (
        {t.name: np.array(t.data) for t in gguf.GGUFReader(path).tensors}
        for path in (tmp_path / "a" / measured.entry, tmp_path / "b" / read.entry)
    )
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert not (tmp_path / "b" / "imatrix.gguf").exists()


def test_the_matrix_of_another_model_is_refused(tiny: Checkpoint, tmp_path: Path) -> None:
    measured, _ = measure_importance(ModelWeights(tiny), TEXTS[:4])
    path = tmp_path / "imatrix.gguf"
    write_imatrix(path, measured, tiny, texts=4, dataset="x")
    other = read_checkpoint(make_tiny_checkpoint(tmp_path / "other", hidden=32))
    with pytest.raises(BadInput, match="measured on another model"):
        read_imatrix(path, other)


def test_files_that_are_no_importance_matrix_are_refused(tiny: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "legacy.dat"
    path.write_bytes(b"\x05\x00\x00\x00blk.0")
    with pytest.raises(BadInput, match="llama-imatrix writes one with --output-format gguf"):
        read_imatrix(path, tiny)
    model = export_gguf(tiny, tmp_path / "g")
    with pytest.raises(BadInput, match="names no matrix"):
        read_imatrix(tmp_path / "g" / model.entry, tiny)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes((tmp_path / "g" / model.entry).read_bytes()[:200])
    with pytest.raises(BadInput, match="damaged"):
        read_imatrix(cut, tiny)


def test_a_matrix_that_is_not_finite_is_refused(tiny: Checkpoint, tmp_path: Path) -> None:
    measured, _ = measure_importance(ModelWeights(tiny), TEXTS[:4])
    measured.sums["layers.0.mlp.gate_proj"][3] = np.nan  # up_proj reads the same input
    path = tmp_path / "imatrix.gguf"
    write_imatrix(path, measured, tiny, texts=4, dataset="x")
    with pytest.raises(BadInput, match=r"blk\.0\.ffn_gate\.weight is not finite"):
        read_imatrix(path, tiny)


def test_calibration_is_repeatable(tiny: Checkpoint) -> None:
    texts = calibration_inputs(read_calibration(None)[:16], tiny.prompts)
    first, _ = measure_importance(ModelWeights(tiny), texts)
    second, _ = measure_importance(ModelWeights(tiny), texts)
    for name, sums in first.sums.items():
        np.testing.assert_array_equal(sums, second.sums[name])


def test_a_file_weighs_the_grids_of_the_plan_embedding_too(
    tiny: Checkpoint, tmp_path: Path
) -> None:
    measured, _ = measure_importance(ModelWeights(tiny), TEXTS[:4])
    path = tmp_path / "imatrix.gguf"
    write_imatrix(path, measured, tiny, texts=4, dataset="four texts")
    files = {}
    for choice in (str(path), "off"):
        folder = tmp_path / f"g{len(files)}"
        options = GgufOptions(imatrix=choice)
        manifest = export_gguf(tiny, folder, scheme="q4_0", **vars(options))
        assert manifest.options["rounding"] == ("nearest" if choice == "off" else "importance")
        reader = gguf.GGUFReader(folder / manifest.entry)
        files[choice] = {t.name: np.array(t.data) for t in reader.tensors}
    weighted, plain = files.values()
    assert not np.array_equal(weighted["blk.1.ffn_up.weight"], plain["blk.1.ffn_up.weight"])
