"""Files whose widths a budget chose, in their own runtimes."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("llama_cpp")

from exporter import api
from exporter.checkpoint.contents import Checkpoint
from exporter.corpus.calibration import calibration_inputs, read_calibration, sample
from exporter.errors import BadInput
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.mixed import TABLE_BITS
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.manifest import Manifest, read_manifest
from exporter.quantization.blocks import fit_blocks, rotated_blocks
from exporter.quantization.sensitivity import Width, measure_sensitivity
from exporter.quantization.weights import ModelWeights
from exporter.runtimes.torch_reference import TorchReference
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE, TEXTS

Export = Callable[..., Manifest]
FORMATS: dict[str, tuple[Export, type]] = {
    "onnx": (export_onnx, OnnxEncoder),
    "gguf": (export_gguf, LlamaCppEncoder),
}


@pytest.fixture(scope="module")
def miniature() -> Checkpoint:
    return api.read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)


@pytest.fixture(scope="module")
def truth(miniature: Checkpoint) -> np.ndarray:  # type: ignore[type-arg]
    return TorchReference(miniature, dtype="float32").encode(TEXTS)


@pytest.mark.parametrize("name", FORMATS)
def test_more_bytes_come_closer_and_none_too_many_are_taken(
    name: str,
    miniature: Checkpoint,
    few_texts: Path,
    truth: np.ndarray,  # type: ignore[type-arg]
    tmp_path: Path,
) -> None:
    export, encoder = FORMATS[name]
    errors = []
    for budget in ("3.7MB", "4.4MB", "5.6MB"):
        folder = tmp_path / budget
        made = export(
            miniature,
            folder,
            scheme="mixed",
            budget=budget,
            calibration=few_texts,
            keep=tmp_path / "kept",
        )
        asked = float(budget.removesuffix("MB")) * 1e6
        assert 0.95 * asked < made.size_bytes <= asked
        with closing(encoder(folder)) as running:
            errors.append(float(np.median(1 - (running.encode(TEXTS) * truth).sum(axis=1))))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert len(list((tmp_path / "kept").iterdir())) == 1, "measured once for all budgets"
    manifest = read_manifest(tmp_path / "4.4MB")
    assert manifest.name == f"{name}-mixed-4.4MB"
    chosen = {
        record.bits_per_weight for record in manifest.tensors if "costs the vector" in record.reason
    }
    assert len(chosen) > 1, "one width for all is no choice"
    assert any("widths chosen for 4.4 MB" in line for line in manifest.kept)


@pytest.mark.parametrize("name", FORMATS)
def test_a_budget_below_what_is_possible_writes_nothing(
    name: str, miniature: Checkpoint, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"below the least, 3\.\dMB"):
        FORMATS[name][0](miniature, tmp_path / "out", scheme="mixed", budget="2MB")
    assert not list(tmp_path.iterdir())


def test_an_onnx_table_of_every_width_is_what_was_stored(
    miniature: Checkpoint, few_texts: Path, tmp_path: Path
) -> None:
    """The more bits, the closer, by the factor that a bit is worth: planes of bits are put
    together in the right order."""
    from exporter.formats.onnx.graph_writer import FLOAT, GraphWriter, tensor_value
    from exporter.formats.onnx.lookup import lookup_blocks, lookup_int8

    table = ModelWeights(miniature).table
    ids = np.arange(0, table.shape[0], 7, dtype=np.int64)[None]
    exact = np.concatenate(list(table.blocks()))[ids]
    errors = []
    for bits in TABLE_BITS:
        folder = tmp_path / str(bits)
        folder.mkdir()
        with GraphWriter(folder) as writer:
            if bits == 8:
                found = lookup_int8(writer, table, "ids", scale=1.0)
            else:
                found = lookup_blocks(
                    writer, table, "ids", scale=1.0, bits=bits, kind=FLOAT, reason=""
                )
            writer.node("Identity", [found], names=["rows"])
            writer.save(
                [tensor_value("ids", 7, ("batch", "sequence"))],
                [tensor_value("rows", FLOAT, ("batch", "sequence", table.shape[1]))],
                producer="test",
            )
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "model.onnx")
        rows = session.run(None, {"ids": ids})[0]
        errors.append(float(np.square(rows - exact).mean() / np.square(exact).mean()))
    assert errors[0] < 5e-2
    for wide, narrow in zip(errors[1:], errors[:-1], strict=True):
        assert wide < narrow / 3
    assert errors[2] < errors[0] / 10


def test_a_wider_matrix_costs_the_vector_less(miniature: Checkpoint) -> None:
    texts = calibration_inputs(sample(read_calibration(None), 24), miniature.prompts)
    widths = [Width(f"{bits}", fit_blocks(bits), lambda values: values) for bits in (3, 4, 6)]
    found = measure_sensitivity(
        rotated_blocks(ModelWeights(miniature)),
        texts,
        widths=lambda site: widths,
        tables={"none": lambda rows: rows, "all": lambda rows: rows * 0 + rows[::-1]},
    )
    table = found.pop("embed_tokens.weight")
    assert table["none"] == pytest.approx(0, abs=1e-9)
    assert table["all"] > 0.1
    assert len(found) == 42
    for errors in found.values():
        assert errors["3"] > 2 * errors["4"] > 4 * errors["6"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"plan": "upstream"}, "--plan upstream does not go with --budget"),
        ({"embedding_type": "q6_k"}, "--embedding-type q6_k does not go with --budget"),
        ({"imatrix": "off"}, "--imatrix off does not go with --budget"),
        ({"budget": "small"}, "'small' is no size"),
    ],
)
def test_what_does_not_go_with_a_budget_is_refused(
    options: dict[str, str], said: str, miniature: Checkpoint, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=said):
        api.export(miniature, tmp_path / "out", format="gguf", **{"budget": "9MB", **options})


def test_a_budget_of_a_uniform_files_size_is_never_worse_than_that_file(
    miniature: Checkpoint, few_texts: Path, tmp_path: Path
) -> None:
    uniform = export_onnx(miniature, tmp_path / "q4", scheme="q4", calibration=few_texts)
    mixed = export_onnx(
        miniature,
        tmp_path / "mixed",
        scheme="mixed",
        budget=str(uniform.size_bytes),
        calibration=few_texts,
        keep=tmp_path / "kept",
    )
    assert mixed.size_bytes <= uniform.size_bytes
    line = next(line for line in mixed.kept if "widths chosen" in line)
    predicted = float(line.partition(" texts, ")[2].split()[0])
    (kept,) = (tmp_path / "kept").glob("sensitivity-*.json")
    errors = json.loads(kept.read_text("utf-8"))
    assert predicted <= 1.05 * sum(widths["4bit"] for widths in errors.values())
