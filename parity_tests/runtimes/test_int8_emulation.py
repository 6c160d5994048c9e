"""The graph computes what calibration assumes that it computes."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
import torch

from exporter.architectures.family import layer_name
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.calibration import calibration_inputs, read_calibration
from exporter.formats.onnx.built import export_built
from exporter.formats.onnx.scheme_int8 import Int8
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


class Exported:
    """A checkpoint in 8 bits, twice: as a graph and as what calibration emulates."""

    def __init__(self, checkpoint: Checkpoint, folder: Path, *, texts: int) -> None:
        self.checkpoint = checkpoint
        every = read_calibration(None)
        short = [text for text in every if len(text.text) < 150]
        fitted = calibration_inputs(short[:48], checkpoint.prompts)
        self.texts = calibration_inputs(short[-texts:], checkpoint.prompts)[:texts]
        self.model: Int8Model = quantize_int8(checkpoint, fitted)
        folder.mkdir()
        export_built(
            checkpoint,
            folder,
            scheme=Int8(self.model),
            dim=checkpoint.dim,
            weights=self.model.weights,
        )
        self.graph = folder / "model.onnx"

    def vectors(self, pooled: Rows) -> Rows:
        head = self.model.weights.head(dim=self.checkpoint.dim)
        made = pooled if head is None else pooled @ head
        return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture(scope="module", params=["miniature", "real"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("int8") / "onnx"
    if request.param == "real":
        return Exported(real_checkpoint(), folder, texts=64)
    return Exported(read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS), folder, texts=64)


def states_of(exported: Exported, batch: Batch, ids: Rows, mask: Rows) -> list[Rows]:
    """Return the residual stream before each layer and after the last, as the graph has it."""
    model = onnx.load(str(exported.graph), load_external_data=False)
    first = next(n for n in model.graph.node if n.op_type == "SimplifiedLayerNormalization")
    sums = [n for n in model.graph.node if n.op_type == "SkipSimplifiedLayerNormalization"]
    names = [first.input[0], *(node.output[3] for node in sums[1::2])]
    for name in names:
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    watched = exported.graph.with_name("watched.onnx")
    onnx.save(model, watched)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(watched), options, ["CPUExecutionProvider"])
    found: list[Rows] = session.run(names, {"input_ids": ids, "attention_mask": mask})
    return found


def rounded_matrices(model: Int8Model) -> dict[str, Rounded]:
    """Return the stored matrices as emulations take them."""
    made = {}
    for name, stored in model.matrices.items():
        groups = torch.zeros(stored.codes.shape[1], dtype=torch.int64)
        grid = Grid(torch.from_numpy(stored.scales[:, None]), groups, -127, 127)
        made[name] = Rounded(torch.from_numpy(stored.codes).float(), grid)
    return made


def test_each_layer_gives_what_its_emulation_gives_from_equal_input(exported: Exported) -> None:
    weights, matrices = exported.model.weights, exported.model.matrices
    batch = embed(weights, exported.texts[:6], dtype=torch.float32)[0]
    tokens = token_rows(exported.checkpoint, exported.texts[:6])
    ids = np.zeros(batch.mask.shape, np.int64)
    for row, at in enumerate(batch.indices):
        ids[row, : len(tokens[at])] = tokens[at]
    states = states_of(exported, batch, ids, batch.mask.numpy().astype(np.int64))

    def alter(layer: int, site: str, values: torch.Tensor) -> torch.Tensor:
        turned = rotated(values, weights.runtime_block(site))
        given: torch.Tensor = round_rows(layer, site, turned)
        return given

    worst = []
    for i in range(weights.architecture.num_layers):
        layer = layer_weights(weights, i, dtype=torch.float32)
        for names in ([layer_name(i, m) for m in site.matrices] for site in weights.sites):
            for name in names:
                stored = matrices[name]
                layer[name] = torch.from_numpy(stored.codes * stored.scales[:, None])
        batch.states = torch.from_numpy(states[i])
        with torch.inference_mode():
            run_layer(weights, i, layer, batch, alter=alter)
        ours, graph = (x[batch.mask] for x in (batch.states, torch.from_numpy(states[i + 1])))
        change = (graph - torch.from_numpy(states[i])[batch.mask]).norm(dim=1)
        worst.append(((ours - graph).norm(dim=1) / change).median())
    # Where a last bit differs, a code may flip, and its row with it: most rows have none.
    assert max(worst) < 1e-5


def test_the_emulation_has_the_error_of_the_graph(exported: Exported) -> None:
    truth = exported.vectors(run_backbone(exported.checkpoint, exported.texts))
    emulated = exported.vectors(
        run_rounded(
            exported.model.weights,
            exported.texts,
            matrices=rounded_matrices(exported.model),
            round_input=round_rows,
            round_table=table_rounding(exported.model.weights.table),
        )
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(exported.graph), options)
    rows = [np.array([row]) for row in token_rows(exported.checkpoint, exported.texts)]
    feeds = [{"input_ids": ids, "attention_mask": ids * 0 + 1} for ids in rows]
    found = np.concatenate([session.run(["sentence_embedding"], feed)[0] for feed in feeds])
    errors = [np.median(1 - (v.astype(np.float64) * truth).sum(axis=1)) for v in (emulated, found)]
    assert errors[0] == pytest.approx(errors[1], rel=0.1)
