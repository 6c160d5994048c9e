"""Ways in which exports of Qwen3-Embedding go wrong: each closes the gate and says why."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

for module in ("torch", "sentence_transformers", "onnx", "onnxruntime"):
    pytest.importorskip(module)

from exporter.checkpoint.contents import Checkpoint  # noqa: E402
from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.corpus.beir import Corpus, read_corpus  # noqa: E402
from exporter.formats.gguf.export import export_gguf  # noqa: E402
from exporter.formats.onnx.export import export_onnx  # noqa: E402
from exporter.formats.onnx.runtime import OnnxEncoder  # noqa: E402
from exporter.formats.open import artifact_source  # noqa: E402
from exporter.formats.openvino.export import export_openvino  # noqa: E402
from exporter.manifest import read_manifest  # noqa: E402
from exporter.parity.results import ParityReport  # noqa: E402
from exporter.parity.run import run_parity  # noqa: E402
from exporter.recipe import read_recipe  # noqa: E402
from exporter.report.advice import advise, recommend, three_sentences  # noqa: E402
from exporter.report.card import build_card  # noqa: E402
from exporter.report.html import render_html  # noqa: E402
from exporter.report.markdown import render_markdown  # noqa: E402
from exporter.report.words import words_of  # noqa: E402
from exporter.runtimes.encoder import Encoder, Progress, Source, Vectors  # noqa: E402
from exporter.runtimes.original import open_original  # noqa: E402
from parity_tests.conftest import REPOSITORY  # noqa: E402
from parity_tests.release.test_negative_controls import closed, disguise  # noqa: E402
from parity_tests.rewritten_gguf import put, rewrite  # noqa: E402
from parity_tests.tiny_qwen3 import QUERY, make_tiny_qwen3  # noqa: E402


def silent(_: str, __: int, /) -> Progress:
    return lambda _: None


class Gate:
    """The tiny checkpoint with its sound fp32 artifact."""

    def __init__(self, folder: Path, corpus: Path) -> None:
        self.folder, self.path = folder, make_tiny_qwen3(folder / "tiny-qwen3")
        self.checkpoint: Checkpoint = read_checkpoint(self.path)
        self.corpus: Corpus = read_corpus(corpus)
        self.recipe = read_recipe(REPOSITORY / "recipes" / "default.toml")
        self.sound = folder / "sound"
        export_onnx(self.checkpoint, self.sound)

    def judge(
        self, *folders: Path, encoder: Callable[[Path], Encoder] | None = None
    ) -> ParityReport:
        def source(path: Path) -> Source:
            found = artifact_source(path)
            if encoder is None:
                return found
            identity = {**found.identity, "control": encoder.__name__}
            return Source(found.name, found.dim, identity, lambda **_: encoder(path))

        return run_parity(
            list(folders),
            original=open_original(self.checkpoint, device="cpu"),
            corpus=self.corpus,
            recipe=self.recipe,
            artifact_source=source,
            stages=silent,
            cache=self.folder / "cache",
            dims=[self.checkpoint.dim],
        )


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Path) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"), tiny_corpus)


def test_the_sound_artifacts_pass(gate: Gate, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("llama_cpp")
    export_openvino(gate.checkpoint, tmp_path / "ov")
    export_gguf(gate.checkpoint, tmp_path / "gguf", scheme="f32")
    report = gate.judge(gate.sound, tmp_path / "ov", tmp_path / "gguf")
    for artifact in report.artifacts:
        assert artifact.verdict == "pass", (artifact.name, artifact.reasons)
        assert artifact.tokens_differ == 0
        assert artifact.dims[0].cosine.minimum > 0.9999
        assert not artifact.unproven
        if artifact.invariance is not None and artifact.invariance.left_padding_error is not None:
            assert artifact.invariance.left_padding_error < 1e-6


def test_mean_pooling_instead_of_the_last_token_closes_the_gate(gate: Gate) -> None:
    source = Path(shutil.copytree(gate.path, gate.folder / "mean" / "tiny-qwen3"))
    pooling = {"pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": False}
    edit(source / "1_Pooling" / "config.json", **pooling)
    export_onnx(read_checkpoint(source), gate.folder / "mean-pooled")
    folder = disguise(gate.folder / "mean-pooled", gate.sound)
    closed(
        gate.judge(folder), "cosine 1st percentile", "another function, as when a Dense, the pool"
    )


def test_the_last_position_of_a_batch_padded_on_the_right_closes_the_gate(gate: Gate) -> None:
    class LastPosition(OnnxEncoder):
        def _run(self, ids: Any, mask: Any) -> Vectors:
            feed = {"input_ids": ids, "attention_mask": mask}
            states: Vectors = self._session.run(["last_hidden_state"], feed)[0]
            return states[:, -1]

    folder = Path(shutil.copytree(gate.sound, gate.folder / "last-position"))
    closed(gate.judge(folder, encoder=LastPosition), "padding moves a text's vector")


def test_a_missing_instruction_closes_the_gate(gate: Gate) -> None:
    class Bare(OnnxEncoder):
        def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
            return super().token_ids([text.removeprefix(QUERY) for text in texts], prompt=prompt)

    folder = Path(shutil.copytree(gate.sound, gate.folder / "bare"))
    closed(gate.judge(folder, encoder=Bare), "token ids differ")


def test_a_missing_end_token_closes_the_gate(gate: Gate) -> None:
    folder = Path(shutil.copytree(gate.sound, gate.folder / "no-end"))
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text("utf-8"))
    data["post_processor"]["processors"].pop()
    path.write_text(json.dumps(data, ensure_ascii=False), "utf-8")
    closed(gate.judge(disguise(folder, gate.sound)), "token ids differ")


@pytest.mark.parametrize(
    "key,value,why",
    [
        ("tokenizer.ggml.add_eos_token", False, "token ids differ"),
        ("tokenizer.ggml.add_bos_token", True, "token ids differ"),
        ("qwen3.pooling_type", 1, "cosine 1st percentile"),
    ],
)
def test_a_gguf_with_one_key_wrong_closes_the_gate(
    gate: Gate, tmp_path: Path, key: str, value: Any, why: str
) -> None:
    pytest.importorskip("llama_cpp")
    folder = tmp_path / "gguf"
    manifest = export_gguf(gate.checkpoint, folder, scheme="f32")
    good = (folder / manifest.entry).rename(tmp_path / "good.gguf")
    shutil.copytree(folder, tmp_path / "sound")
    rewrite(good, folder / manifest.entry, keys=put(key, value))
    shutil.copy(good, tmp_path / "sound" / manifest.entry)
    closed(gate.judge(disguise(folder, tmp_path / "sound")), why)


def test_what_no_real_weights_proved_says_so_and_is_not_recommended(
    gate: Gate, few_texts: Path, tmp_path: Path
) -> None:
    for scheme in ("int8", "q4"):
        export_onnx(gate.checkpoint, tmp_path / scheme, scheme=scheme, calibration=few_texts)
        assert read_manifest(tmp_path / scheme).unproven
    report = gate.judge(tmp_path / "int8", gate.sound)
    passing = {"verdict": "pass", "reasons": ()}
    artifacts = []
    for artifact in report.artifacts:
        dim = artifact.dims[0]
        ways = tuple(w.model_copy(update=passing) for w in dim.deployments)
        dims = (dim.model_copy(update={**passing, "deployments": ways}),)
        artifacts.append(artifact.model_copy(update={**passing, "dims": dims}))
    report = report.model_copy(update={"artifacts": tuple(artifacts), "verdict": "pass"})
    assert [a.unproven for a in report.artifacts] == [True, False]
    assert "onnx-int8" in advise(report).existing_index
    (sentence,) = recommend(report)
    assert sentence.rest.startswith("take onnx-fp32")
    existing, _, _ = three_sentences(report)
    assert existing.rest.endswith(" Not proven on real weights: onnx-int8.")
    alone = report.model_copy(update={"artifacts": report.artifacts[:1]})
    (sentence,) = recommend(alone)
    assert sentence.rest.startswith("none is recommended: onnx-int8 passed on this corpus, but not")
    (chinese,) = recommend(alone, words_of("zh"))
    assert "没有在本模型系列的真实权重上验证过" in chinese.rest
    assert "not proven on real weights" in render_markdown(report)
    assert "未在真实权重上验证" in render_markdown(report, words_of("zh"))
    assert "not proven on real weights" in render_html(report)
    manifests = {m.name: m for m in map(read_manifest, (tmp_path / "int8", gate.sound))}
    card = str(build_card(report, manifests=manifests, checkpoint=gate.checkpoint))
    assert "onnx-int8: not proven on real weights" in card
    assert "onnx-fp32: not proven" not in card


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")
