"""The twin of the miniature fails as google/embeddinggemma-300m fails, and int8 holds on both."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")

import torch

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.corpus.bm25 import rank_by_bm25
from exporter.corpus.calibration import calibration_inputs, read_calibration
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.options import GgufOptions
from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.formats.onnx.export import export_onnx
from exporter.formats.onnx.runtime import OnnxEncoder
from exporter.quantization.batches import embed
from exporter.quantization.forward import Alter, pooled_states, run_backbone, run_layer
from exporter.quantization.int8 import Int8Model, quantize_int8
from exporter.quantization.rounding import RoundInput, round_rows, run_rounded
from exporter.quantization.step_weights import layer_weights
from exporter.quantization.table import table_rounding
from exporter.quantization.weights import ModelWeights
from exporter.runtimes.torch_reference import TorchReference
from exporter.vectors.search import measure, search
from parity_tests.conftest import BUNDLED_CORPUS, LAWVAULT_PROMPTS, MINIATURE, TEXTS
from parity_tests.miniature.harden import harden_tokens
from parity_tests.runtimes.test_int8_emulation import rounded_matrices

Rows = npt.NDArray[np.float32]
Range = dict[tuple[int, str], Any]

# Half more than was measured: 3.3e-5 and 1.1e-4, near the 1.2e-4 of the real model.
MOST_ON_MINIATURE = 4.9e-5
MOST_ON_TWIN = 1.6e-4
# The same of 1.9e-5 and 7.8e-5, 7.9e-4 and 1.7e-3, 3.6e-3 and 4.3e-3.
MOST = {"q8_0": (2.8e-5, 1.1e-4), "q4_k_m": (1.1e-3, 2.5e-3), "q4": (5.4e-3, 6.4e-3)}


@dataclass
class Subject:
    """A checkpoint, 48 texts to calibrate on and 32 others to measure with."""

    checkpoint: Checkpoint

    def __post_init__(self) -> None:
        short = [text for text in read_calibration(None) if len(text.text) < 150]
        self.fitted = calibration_inputs(short[:48], self.checkpoint.prompts)
        self.held_back = calibration_inputs(short[-32:], self.checkpoint.prompts)

    @cached_property
    def truth(self) -> Rows:
        return vectors(self.checkpoint, run_backbone(self.checkpoint, self.held_back))

    @cached_property
    def rows(self) -> Range:
        """The values at each layer and site of the texts to calibrate on, (tokens, width)."""
        found: dict[tuple[int, str], list[Any]] = {}

        def watch(layer: int, site: str, values: Any) -> None:
            if site in {s.name for s in ModelWeights(self.checkpoint).sites} or site == "mlp_out":
                found.setdefault((layer, site), []).append(values.clone())

        run_backbone(self.checkpoint, self.fitted, watch=watch)
        return {at: torch.cat(values) for at, values in found.items()}

    @cached_property
    def int8(self) -> Int8Model:
        return quantize_int8(self.checkpoint, self.fitted)

    def error(self, pooled: Rows) -> float:
        """Return the error of pooled states."""
        return self.error_of(vectors(self.checkpoint, pooled))

    def error_of(self, found: Rows) -> float:
        """Return the median of 1 - cosine to the checkpoint's own float32."""
        return float(np.median(1 - (found.astype(np.float64) * self.truth).sum(axis=1)))

    def altered(self, alter: Alter) -> float:
        """Return the error of rounding the inputs of unrotated, exact matrices."""
        weights = ModelWeights(self.checkpoint)
        with torch.inference_mode():
            batches = embed(weights, self.held_back, dtype=torch.float32)
            for i in range(weights.architecture.num_layers):
                layer = layer_weights(weights, i, dtype=torch.float32)
                for batch in batches:
                    run_layer(weights, i, layer, batch, alter=alter)
            return self.error(pooled_states(weights, batches, count=len(self.held_back)))

    def rounded(self, round_input: RoundInput) -> float:
        """Return the error of the int8 model with these inputs."""
        pooled = run_rounded(
            self.int8.weights,
            self.held_back,
            matrices=rounded_matrices(self.int8),
            round_input=round_input,
            round_table=table_rounding(ModelWeights(self.checkpoint).table),
        )
        return self.error(pooled)


def vectors(checkpoint: Checkpoint, pooled: Rows) -> Rows:
    head = ModelWeights(checkpoint).head(dim=checkpoint.dim)
    made = pooled if head is None else pooled @ head
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def miniature() -> Subject:
    return Subject(read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS))


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    path = harden_tokens(MINIATURE, tmp_path_factory.mktemp("t") / "twin")
    return Subject(read_checkpoint(path, prompts=LAWVAULT_PROMPTS))


def largest(values: Any) -> Any:
    """Return the largest magnitude of each row."""
    return values.abs().amax(dim=1)


def ordinary(values: Any) -> Any:
    """Return the rows that are not far above others in most of their channels."""
    typical = values.abs().median(dim=1).values
    return values[typical <= 100 * typical.median()]


def test_rows_of_some_tokens_are_fifty_times_the_median_row(
    twin: Subject, miniature: Subject
) -> None:
    def ratio(values: Any) -> float:
        return float(largest(values).max() / largest(values).median())

    for i in range(6):
        assert ratio(twin.rows[i, "product"]) > 50
        assert ratio(miniature.rows[i, "product"]) < 3
        # Few: one token of each text.
        assert len(twin.rows[i, "product"]) - len(ordinary(twin.rows[i, "product"])) == len(
            twin.fitted
        )


def test_no_scale_of_channels_takes_such_rows_away(twin: Subject) -> None:
    for i in range(6):
        values = twin.rows[i, "product"]
        scaled = values / ordinary(values).abs().amax(dim=0)
        assert float(largest(scaled).max() / largest(scaled).median()) > 50


@pytest.mark.parametrize(
    ("site", "layers"),
    [("attention_in", (0, 2, 4)), ("mlp_in", (1, 3, 5)), ("product", (0, 1, 2, 3, 4, 5))],
)
def test_single_channels_are_a_hundred_times_the_rms(
    twin: Subject, miniature: Subject, site: str, layers: tuple[int, ...]
) -> None:
    def ratio(values: Any) -> float:
        rms = ordinary(values).square().mean(dim=0).sqrt()
        return float(rms.max() / rms.median())

    for i in layers:
        assert ratio(twin.rows[i, site]) > 100
        assert ratio(miniature.rows[i, site]) < 10


def test_the_eps_of_the_norm_decides_on_what_mlps_give(twin: Subject, miniature: Subject) -> None:
    def kept(values: Any) -> Any:
        square = values.square().mean(dim=1)
        return (square / (square + 1e-6)).sqrt()

    for i in range(6):
        assert float(kept(ordinary(twin.rows[i, "mlp_out"])).median()) < 0.85
        assert float(kept(miniature.rows[i, "mlp_out"]).min()) > 0.9999


def test_its_vectors_are_those_of_transformers_and_near_the_miniatures(
    twin: Subject, miniature: Subject
) -> None:
    found = vectors(twin.checkpoint, run_backbone(twin.checkpoint, TEXTS))
    expected = TorchReference(twin.checkpoint, dtype="float32").encode(TEXTS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    # Another function: 0.982 was measured, 0.86 for the worst; 1 - cosine at most twice that.
    cosines = (twin.truth * miniature.truth).sum(axis=1)
    assert np.median(cosines) > 0.964
    assert cosines.min() > 0.72


def static(scales: Callable[[Any], Any], rows: Range) -> Alter:
    """Return 8 bits with scales that calibration fixes. `scales` maps channels' largest values."""
    steps = {at: scales(v.abs().amax(dim=0)).clamp_min(1e-20) / 127 for at, v in rows.items()}

    def alter(layer: int, site: str, values: Any) -> Any:
        step = steps[layer, site]
        return (values / step).round().clamp(-127, 127) * step

    return alter


def test_a_static_scale_a_tensor_fails_on_the_twin_and_not_on_the_miniature(
    twin: Subject, miniature: Subject
) -> None:
    def one(channels: Any) -> Any:
        return channels.amax()

    # 5.0e-2 and 2.7e-5 were measured; on the real model 5.3e-3, of product alone.
    assert twin.altered(static(one, twin.rows)) > 1e-2
    assert miniature.altered(static(one, miniature.rows)) < 4e-5


def test_static_scales_a_channel_fail_on_it_too(twin: Subject) -> None:
    # What smoothing can reach at best, and free of the error it moves into weights: 2.4e-2.
    assert twin.altered(static(lambda channels: channels, twin.rows)) > 5e-3


def test_scales_a_row_need_rotations_on_it(twin: Subject) -> None:
    # 3.7e-3 was measured, 33 times the scheme's error; on the real model 1.0e-3, ten times.
    assert twin.altered(round_rows) > 1e-3


def test_int8_holds_on_the_miniature(miniature: Subject) -> None:
    assert 0 < miniature.rounded(round_rows) < MOST_ON_MINIATURE


def test_int8_holds_on_the_twin_as_on_the_real_model(twin: Subject) -> None:
    assert 7e-5 < twin.rounded(round_rows) < MOST_ON_TWIN


def unscaled_before_norms(layer: int, site: str, values: Any) -> Any:
    """Round rows, and leave their scale out of the products that an RMSNorm follows."""
    rounded = round_rows(layer, site, values)
    if site in ("attended", "product"):
        rounded = rounded / values.abs().amax(-1, keepdim=True).clamp_min(1e-20)
    return rounded


def test_leaving_out_the_scale_of_rows_before_a_norm_is_seen_on_the_twin_alone(
    twin: Subject, miniature: Subject
) -> None:
    # 1.2e-3 was measured, eleven times the scheme's error; on the real model five times.
    assert twin.rounded(unscaled_before_norms) > 4 * MOST_ON_TWIN
    assert miniature.rounded(unscaled_before_norms) < MOST_ON_MINIATURE


@pytest.mark.slow
@pytest.mark.parametrize("scheme", MOST)
def test_smaller_files_hold_on_the_miniature_and_on_the_twin(
    twin: Subject, miniature: Subject, few_texts: Path, tmp_path: Path, scheme: str
) -> None:
    for subject, most in zip((miniature, twin), MOST[scheme], strict=True):
        found = file_vectors(subject, tmp_path / subject.checkpoint.name, scheme, few_texts)
        assert 0 < subject.error_of(found) < most


def file_vectors(subject: Subject, folder: Path, scheme: str, texts: Path) -> Rows:
    """Export, and return what a runtime makes of the texts held back."""
    encoder: OnnxEncoder | LlamaCppEncoder
    if scheme == "q4":
        pytest.importorskip("onnxruntime")
        export_onnx(subject.checkpoint, folder, scheme=scheme, calibration=texts)
        encoder = OnnxEncoder(folder, threads=1)
    else:
        pytest.importorskip("llama_cpp")
        options = GgufOptions(imatrix="on", calibration=texts)
        export_gguf(subject.checkpoint, folder, scheme=scheme, **vars(options))
        encoder = LlamaCppEncoder(folder)
    return encoder.encode(subject.held_back)


@pytest.mark.slow
def test_it_finds_what_bm25_does_not(twin: Subject) -> None:
    checkpoint, corpus = twin.checkpoint, read_corpus(BUNDLED_CORPUS)
    prompts = checkpoint.prompts
    documents = [
        prompts.render_document(text, title=title)
        for title, text in zip(corpus.titles, corpus.texts, strict=True)
    ]
    queries = [prompts.render_query(q) for q in corpus.queries]
    found = [vectors(checkpoint, run_backbone(checkpoint, texts)) for texts in (queries, documents)]
    keys = {"doc_ids": corpus.doc_ids, "query_ids": corpus.query_ids, "qrels": corpus.qrels}
    ours = np.mean(measure(search(*found), **keys)["mrr_at_10"])
    floor = np.mean(measure(rank_by_bm25(corpus), **keys)["mrr_at_10"])
    # 0.581, of the miniature 0.587, of BM25 0.373.
    assert ours > floor + 0.1
