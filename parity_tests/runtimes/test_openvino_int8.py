"""OpenVINO int8: the graph computes what calibration assumes, in whole numbers, row by row."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")
pytest.importorskip("openvino")

import openvino
import torch

from exporter.architectures.family import layer_name
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.calibration import calibration_inputs, read_calibration
from exporter.formats.openvino.export import export_openvino
from exporter.formats.openvino.graph import Graph
from exporter.quantization.batches import Batch, embed
from exporter.quantization.forward import run_backbone, run_layer
from exporter.quantization.gptq import Grid
from exporter.quantization.inputs import token_rows
from exporter.quantization.int8 import Int8Model, quantize_int8
from exporter.quantization.rounding import Rounded, rotated, round_rows, run_rounded
from exporter.quantization.step_weights import layer_weights
from exporter.quantization.table import table_rounding
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE
from parity_tests.real import real_checkpoint

Rows = npt.NDArray[np.float32]
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}


class WatchedGraph(Graph):
    """Gives the residual stream before each layer and after the last, too."""

    def model(self, *, dim: int) -> Any:
        self.watched: list[Any] = []
        made = super().model(dim=dim)
        made.add_outputs([node.output(0) for node in self.watched])
        return made

    def _norm(self, x: Any, name: str) -> Any:
        if name == "norm" or name.endswith("input_layernorm"):
            self.watched.append(x)
        return super()._norm(x, name)


class Quantized:
    """A checkpoint in 8 bits: in OpenVINO, and as what calibration emulates."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        short = [text for text in read_calibration(None) if len(text.text) < 150]
        fitted = calibration_inputs(short[:48], checkpoint.prompts)
        self.texts = calibration_inputs(short[-64:], checkpoint.prompts)[:64]
        self.model: Int8Model = quantize_int8(checkpoint, fitted)
        self.weights = self.model.weights
        graph = WatchedGraph(self.weights, int8=self.model).model(dim=checkpoint.dim)
        self.run = openvino.Core().compile_model(graph, "CPU", FLOAT32)

    def outputs(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> list[Rows]:
        """Return the vectors, and the residual stream before each layer and after the last."""
        found = self.run({"input_ids": ids, "attention_mask": mask})
        return [np.array(found[i]) for i in range(1, len(self.run.outputs))]

    def vectors(self, pooled: Rows) -> Rows:
        head = self.weights.head(dim=self.checkpoint.dim)
        made = pooled if head is None else pooled @ head
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    def rounded(self) -> dict[str, Rounded]:
        made = {}
        for name, stored in self.model.matrices.items():
            group = torch.zeros(stored.codes.shape[1], dtype=torch.int64)
            grid = Grid(torch.from_numpy(stored.scales[:, None]), group, -127, 127)
            made[name] = Rounded(torch.from_numpy(stored.codes).float(), grid)
        return made


@pytest.fixture(scope="module", params=["miniature", "real"])
def quantized(request: pytest.FixtureRequest) -> Quantized:
    real = request.param == "real"
    return Quantized(
        real_checkpoint() if real else read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)
    )


def padded(quantized: Quantized, batch: Batch) -> tuple[npt.NDArray[np.int64], Any]:
    tokens = token_rows(quantized.checkpoint, quantized.texts)
    ids = np.zeros(batch.mask.shape, np.int64)
    for row, at in enumerate(batch.indices):
        ids[row, : len(tokens[at])] = tokens[at]
    return ids, batch.mask.numpy().astype(np.int64)


def test_each_layer_gives_what_its_emulation_gives_from_equal_input(quantized: Quantized) -> None:
    weights = quantized.weights
    batch = embed(weights, quantized.texts[:6], dtype=torch.float32)[0]
    _, *states = quantized.outputs(*padded(quantized, batch))
    matrices = quantized.rounded()

    def alter(layer: int, site: str, values: torch.Tensor) -> torch.Tensor:
        turned = rotated(values, weights.runtime_block(site))
        given: torch.Tensor = round_rows(layer, site, turned)
        return given

    worst = []
    for i in range(weights.architecture.num_layers):
        layer = layer_weights(weights, i, dtype=torch.float32)
        for names in ([layer_name(i, m) for m in site.matrices] for site in weights.sites):
            for name in names:
                layer[name] = matrices[name].values()
        before, after = (torch.from_numpy(states[n]) for n in (i, i + 1))
        batch.states = before
        with torch.inference_mode():
            run_layer(weights, i, layer, batch, alter=alter)
        change = (after - before)[batch.mask].norm(dim=1)
        worst.append(((batch.states - after)[batch.mask].norm(dim=1) / change).median())
    # Where a last bit differs, a code may flip, and its row with it: most rows have none.
    assert max(worst) < 1e-5


def test_the_emulation_has_the_error_of_the_graph(quantized: Quantized) -> None:
    texts = quantized.texts
    truth = quantized.vectors(run_backbone(quantized.checkpoint, texts))
    emulated = quantized.vectors(
        run_rounded(
            quantized.weights,
            texts,
            matrices=quantized.rounded(),
            round_input=round_rows,
            round_table=table_rounding(quantized.weights.table),
        )
    )
    rows = [np.array([row]) for row in token_rows(quantized.checkpoint, texts)]
    found = np.concatenate([quantized.outputs(ids, ids * 0 + 1)[0] for ids in rows])
    errors = [np.median(1 - (v.astype(np.float64) * truth).sum(axis=1)) for v in (emulated, found)]
    assert errors[0] == pytest.approx(errors[1], rel=0.1)


def test_every_product_of_a_layer_runs_in_whole_numbers(quantized: Quantized) -> None:
    kinds = [
        node.get_rt_info()["primitiveType"].astype(str)
        for node in quantized.run.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str) == "FullyConnected"
    ]
    if not any("i8" in kind for kind in kinds):
        pytest.skip("this processor has no products of whole numbers in OpenVINO")
    assert sum("i8" in kind for kind in kinds) == 7 * quantized.weights.architecture.num_layers


def test_a_row_does_not_see_how_large_its_neighbours_are(quantized: Quantized) -> None:
    tokens = token_rows(quantized.checkpoint, quantized.texts)
    length = sorted(map(len, tokens))[len(tokens) // 2]
    rows = np.array([(row * length)[:length] for row in tokens[:5]])
    together = quantized.outputs(rows, rows * 0 + 1)[0]
    for row, vector in zip(rows, together, strict=True):
        alone = quantized.outputs(row[None], row[None] * 0 + 1)[0][0]
        assert float(1 - vector.astype(np.float64) @ alone) < 1e-6


def test_weights_rounded_for_onnx_serve_openvino(
    tiny: Checkpoint, few_texts: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    from exporter.formats.onnx.export import export_onnx

    kept = tmp_path / "kept"
    export_onnx(tiny, tmp_path / "onnx", scheme="int8", calibration=few_texts, keep=kept)
    (file,) = kept.iterdir()
    before = file.stat().st_mtime_ns
    export_openvino(tiny, tmp_path / "o", scheme="int8", calibration=few_texts, keep=kept)
    assert [found.stat().st_mtime_ns for found in kept.iterdir()] == [before]
    export_openvino(tiny, tmp_path / "alone", scheme="int8", calibration=few_texts)
    for name in ("model.xml", "model.bin", "manifest.json"):
        assert (tmp_path / "o" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
