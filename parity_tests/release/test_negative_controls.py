"""Ways in which exports go wrong in the field. Each must close the gate, and say why at once.

Real runtimes, the bundled miniature and corpus, the bundled recipe; and the sound artifact passes.
"""

import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.corpus.hard_texts import HARD_TEXTS
from exporter.manifest import MANIFEST_NAME, describe_files, read_manifest
from exporter.parity.results import ParityReport
from exporter.parity.run import run_parity
from exporter.recipe import Limits, Recipe, read_recipe
from exporter.records import write_json
from exporter.report.advice import why_refused
from exporter.report.markdown import first_line
from exporter.runtimes.encoder import Encoder, Progress, Source, Vectors
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE, REPOSITORY
from parity_tests.layout import save_tensors
from parity_tests.miniature.harden import harden

for module in ("sentence_transformers", "onnx", "onnxruntime"):
    pytest.importorskip(module)
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.formats.onnx.runtime import OnnxEncoder  # noqa: E402
from exporter.formats.open import artifact_source  # noqa: E402
from exporter.runtimes.original import open_original  # noqa: E402

pytestmark = pytest.mark.slow


def silent(_: str, __: int, /) -> Progress:
    return lambda _: None


@dataclass
class Gate:
    """A checkpoint with its sound fp32 artifact; the references are embedded once."""

    folder: Path
    path: Path

    def __post_init__(self) -> None:
        self.checkpoint: Checkpoint = read_checkpoint(self.path)
        self.corpus = read_corpus(BUNDLED_CORPUS)
        # The full dim alone is judged: no control is a close call.
        self.recipe = read_recipe(REPOSITORY / "recipes" / "lawvault.toml")
        every = len(self.corpus.doc_ids) + len(self.corpus.query_ids) + len(HARD_TEXTS)
        self.different = f"in {every:,} texts"
        self.sound = self.folder / "sound"
        export_onnx(self.checkpoint, self.sound)

    def judge(
        self,
        folder: Path,
        encoder: Callable[[Path], Encoder] | None = None,
        recipe: Recipe | None = None,
    ) -> ParityReport:
        def source(path: Path) -> Source:
            found = artifact_source(path)
            if encoder is None:
                return found
            identity = {**found.identity, "control": encoder.__name__}
            return Source(found.name, found.dim, identity, lambda **_: encoder(path))

        return run_parity(
            [folder],
            original=open_original(self.checkpoint, device="cpu"),
            corpus=self.corpus,
            recipe=recipe or self.recipe,
            artifact_source=source,
            stages=silent,
            cache=self.folder / "cache",
            dims=[self.checkpoint.dim],
        )

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.sound, self.folder / name))

    def altered(self, name: str, alter: Callable[[Path], None]) -> Path:
        """Export a checkpoint with something wrong under the manifest of the sound one."""
        source = Path(shutil.copytree(self.path, self.folder / f"{name}-checkpoint"))
        alter(source)
        export_onnx(read_checkpoint(source), self.folder / name)
        return disguise(self.folder / name, self.sound)


def disguise(folder: Path, sound: Path) -> Path:
    """Give `folder` the manifest of `sound`, with its own files: a mistake nobody noticed."""
    manifest = read_manifest(sound).model_copy(update={"files": ()})
    files = describe_files(folder)
    write_json(folder / MANIFEST_NAME, manifest.model_copy(update={"files": files}))
    return folder


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"), MINIATURE)


@pytest.fixture(scope="module")
def hard_gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    folder = tmp_path_factory.mktemp("hard")
    return Gate(folder, harden(MINIATURE, folder / "lawvault-mini"))


def closed(report: ParityReport, *why: str) -> None:
    assert report.verdict == "fail"
    line = first_line(report)
    assert line.startswith("**fail**: ")
    (artifact,) = report.artifacts
    assert why_refused(artifact) in line
    said = "; ".join(artifact.reasons)
    for part in why:
        assert part in said


def test_the_sound_artifact_passes(gate: Gate, hard_gate: Gate) -> None:
    for sound in (gate, hard_gate):
        report = sound.judge(sound.sound)
        result = report.artifacts[0]
        assert result.tokens_differ == 0
        assert result.dims[0].cosine.minimum > 0.99999
        assert result.dims[0].deployed("both").overlap_at_10.mean > 0.99
        assert result.verdict == "pass", result.reasons
        assert result.invariance is not None
        assert result.invariance.companions_changed == result.invariance.order_changed == 0


def set_weight(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    checkpoint = read_checkpoint(folder)
    info = checkpoint.tensors[name]
    inside = [t for t in checkpoint.tensors.values() if t.file == info.file]
    tensors = {t.name.split("/")[-1]: checkpoint.tensor(t.name) for t in inside}
    own = name.split("/")[-1]
    tensors[own] = change(tensors[own])
    save_tensors(info.file, tensors, dtype="float32")


def test_a_dropped_dense_closes_the_gate(gate: Gate) -> None:
    def drop(folder: Path) -> None:
        for dense in read_checkpoint(folder).dense:
            shape = (dense.out_features, dense.in_features)
            set_weight(folder, dense.tensor, lambda _, s=shape: np.eye(*s, dtype=np.float32))

    closed(gate.judge(gate.altered("no-dense", drop)), "another function, as when a Dense")


def test_one_noised_layer_closes_the_gate(gate: Gate) -> None:
    def noise(folder: Path) -> None:
        def change(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            rng = np.random.default_rng(0)
            return weight + 0.3 * weight.std() * rng.standard_normal(weight.shape, np.float32)

        set_weight(folder, "layers.2.mlp.down_proj.weight", change)

    closed(gate.judge(gate.altered("noised", noise)), "cosine 1st percentile", "cosine_p1_min")


def test_a_rotated_embedding_space_closes_the_gate_on_the_index_that_exists(gate: Gate) -> None:
    """It ranks its own index as before; an index of the original knows nothing of it."""
    width = gate.checkpoint.dim
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((width, width)))

    def rotate(folder: Path) -> None:
        last = read_checkpoint(folder).dense[-1]
        set_weight(folder, last.tensor, lambda w: basis.astype(np.float32) @ w)

    report = gate.judge(gate.altered("rotated", rotate))
    closed(report, "another function")
    both, queries, documents = report.artifacts[0].dims[0].deployments
    assert both.differences.mrr_at_10.mean == pytest.approx(0, abs=1e-3)
    assert both.overlap_at_10.mean > 0.99
    for way in (queries, documents):
        assert any("overlap_at_10_min" in reason for reason in way.reasons)
        assert any("mrr_at_10_margin" in reason for reason in way.reasons)


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def test_a_wrong_sliding_window_closes_the_gate_by_the_cosine(gate: Gate) -> None:
    window = gate.checkpoint.window_saved
    assert window is not None
    folder = gate.altered("window", lambda f: change_config(f, sliding_window=window // 8))
    closed(gate.judge(folder), "cosine 1st percentile", "cosine_p1_min")


def test_swapped_rope_thetas_close_the_gate_by_the_cosine(gate: Gate) -> None:
    a = gate.checkpoint.architecture
    assert a is not None and a.rope_theta != a.rope_local_theta

    def swap(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        change_config(
            folder,
            rope_theta=config["rope_local_base_freq"],
            rope_local_base_freq=config["rope_theta"],
        )

    closed(gate.judge(gate.altered("rope", swap)), "cosine 1st percentile", "cosine_p1_min")


def test_a_loss_that_only_retrieval_shows_closes_the_gate_by_its_margin(gate: Gate) -> None:
    class Blurred(OnnxEncoder):
        def encode(self, texts: Sequence[str], **options: Any) -> Vectors:
            vectors = super().encode(texts, **options)
            # A text always gets the same noise, alone or in company.
            noise = np.array(
                [
                    np.random.default_rng(zlib.crc32(t.encode())).standard_normal(vectors.shape[1])
                    for t in texts
                ],
                np.float32,
            )
            blurred = vectors + 0.5 * noise / np.sqrt(vectors.shape[1])
            unit: Vectors = blurred / np.linalg.norm(blurred, axis=1, keepdims=True)
            return unit.astype(np.float32)

    blind = Limits(
        cosine_p1_min=0.5, overlap_at_10_min=0.2, mrr_at_10_margin=0.01, companions_error_max=2
    )
    recipe = gate.recipe.model_copy(update={"limits": {"fp32": blind}, "ways": ("both",)})
    report = gate.judge(gate.copy("blurred"), Blurred, recipe)
    closed(report, "lies beyond mrr_at_10_margin 0.01")
    assert all("mrr_at_10_margin" in reason for reason in report.artifacts[0].reasons)


def test_another_pooling_closes_the_gate(gate: Gate) -> None:
    class FirstToken(OnnxEncoder):
        def _run(self, ids: Any, mask: Any) -> Vectors:
            feed = {"input_ids": ids, "attention_mask": mask}
            states: Vectors = self._session.run(["last_hidden_state"], feed)[0]
            return states[:, 0]

    closed(gate.judge(gate.copy("first-token"), FirstToken), "cosine 1st percentile")


def test_a_prompt_of_the_servers_own_closes_the_gate(gate: Gate) -> None:
    class Prompted(OnnxEncoder):
        def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
            return super().token_ids(texts, prompt="task: search result | query: " + prompt)

    closed(gate.judge(gate.copy("prompted"), Prompted), "token ids differ", gate.different)


def test_a_dropped_end_token_closes_the_gate(gate: Gate) -> None:
    folder = gate.copy("no-eos")
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text("utf-8"))
    template = data["post_processor"]
    template["single"] = [
        item for item in template["single"] if item.get("SpecialToken", {}).get("id") != "<eos>"
    ]
    path.write_text(json.dumps(data, ensure_ascii=False), "utf-8")
    closed(gate.judge(disguise(folder, gate.sound)), "token ids differ", gate.different)


def test_a_tokenizer_of_another_model_closes_the_gate(gate: Gate, tiny_path: Path) -> None:
    folder = gate.copy("other-tokenizer")
    shutil.copy(tiny_path / "tokenizer.json", folder / "tokenizer.json")
    closed(gate.judge(disguise(folder, gate.sound)), "token ids differ")


def test_dynamic_int8_of_the_hardened_checkpoint_closes_the_gate(hard_gate: Gate) -> None:
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = hard_gate.copy("dynamic")
    target = folder / "quantized.onnx"
    quantize_dynamic(
        folder / "model.onnx",
        target,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
    for path in folder.glob("model.onnx*"):
        path.unlink()
    target.rename(folder / "model.onnx")
    report = hard_gate.judge(disguise(folder, hard_gate.sound))
    # Its scales are taken over the whole batch, and four channels use up their range.
    closed(report, "depends on the other texts of its batch")
    assert any("cosine 1st percentile" in reason for reason in report.artifacts[0].reasons)


def test_plain_fp16_of_the_hardened_checkpoint_closes_the_gate(hard_gate: Gate) -> None:
    import torch

    from exporter.runtimes.torch_reference import TorchReference

    class Halved(TorchReference):
        def __init__(self, _: Path) -> None:
            super().__init__(hard_gate.checkpoint, dtype="float32", device="cpu")
            self._model = self._model.to(torch.float16)
            self.name = "onnx-fp16"

    report = hard_gate.judge(hard_gate.copy("fp16"), Halved)
    closed(report, "not finite")
    assert report.artifacts[0].dims == ()
