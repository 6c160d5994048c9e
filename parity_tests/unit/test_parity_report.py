"""A whole parity run on a tiny checkpoint: sound candidates pass, broken ones close the gate."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from exporter.checkpoint.read import read_checkpoint
from exporter.checkpoint.records import Checkpoint, Prompts
from exporter.errors import BadInput
from exporter.manifest import MANIFEST_NAME, TensorRecord, sha256_file, write_manifest
from exporter.parity.corpus import Corpus, read_corpus
from exporter.parity.records import ParityReport
from exporter.parity.report import first_line, read_report, render_markdown, write_report
from exporter.parity.run import run_parity
from exporter.recipe import Limits, Recipe, read_recipe
from exporter.runtimes.encoder import Encoder, Progress, Vectors, unit_rows
from parity_tests.tiny_checkpoint import make_tiny_checkpoint
from parity_tests.tiny_corpus import make_tiny_corpus

pytest.importorskip("sentence_transformers")
from exporter.runtimes.torch_reference import TorchReference

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "lawvault.toml"


class Remembered:
    """An encoder that encodes each text once in the whole module: torch is slow to repeat."""

    def __init__(self, inner: Encoder) -> None:
        self.inner, self.name, self.dim = inner, inner.name, inner.dim
        self.known: dict[str, Vectors] = {}

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        return self.inner.token_ids(texts, prompt=prompt)

    def encode(
        self, texts: Sequence[str], *, prompt: str = "", dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:  # fmt: skip
        new = [text for text in texts if text not in self.known]
        if new:
            self.known.update(zip(new, self.inner.encode(new, prompt=prompt), strict=True))
        if on_progress is not None:
            on_progress(len(texts))
        return unit_rows(np.stack([self.known[t] for t in texts]), texts, dim=dim, source=self.name)

    def close(self) -> None:
        pass


@dataclass
class Candidate:
    """torch fp32 with one thing changed on its way out or in."""

    inner: Encoder
    change: Callable[[Vectors], Vectors] = lambda vectors: vectors
    tokens: Callable[[list[int]], list[int]] = lambda row: row
    name: str = "onnx-fp32"

    def __post_init__(self) -> None:
        self.dim = self.inner.dim
        self.encoded: list[str] = []

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        return [self.tokens(row) for row in self.inner.token_ids(texts, prompt=prompt)]

    def encode(
        self, texts: Sequence[str], *, prompt: str = "", dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:  # fmt: skip
        self.encoded += texts
        vectors = self.inner.encode(texts, prompt=prompt, on_progress=on_progress)
        return unit_rows(self.change(vectors), texts, dim=dim, source=self.name)

    def close(self) -> None:
        pass


class Bench:
    """Everything a run needs, with the references embedded by real torch."""

    def __init__(self, folder: Path) -> None:
        self.checkpoint: Checkpoint = read_checkpoint(make_tiny_checkpoint(folder / "tiny"))
        self.corpus: Corpus = read_corpus(make_tiny_corpus(folder / "corpus"))
        self.recipe: Recipe = read_recipe(RECIPE)
        self.references = {
            "float32": Remembered(TorchReference(self.checkpoint, dtype="float32", device="cpu")),
            "bfloat16": Remembered(TorchReference(self.checkpoint, dtype="bfloat16", device="cpu")),
        }
        self.artifact = self.make_artifact(folder / "artifact")

    def make_artifact(
        self, folder: Path, *, checkpoint: Checkpoint | None = None, scheme: str = "fp32"
    ) -> Path:
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"x")
        write_manifest(
            folder, checkpoint or self.checkpoint, kind="onnx", scheme=scheme, entry="model.onnx",
            tensors=(TensorRecord(name="t", dtype="F32", shape=(2, 2), bits_per_weight=32),),
            libraries=(),
        )  # fmt: skip
        return folder

    def run(
        self, *encoders: Encoder, artifacts: Sequence[Path] | None = None,
        recipe: Recipe | None = None, dims: Sequence[int] | None = None,
    ) -> ParityReport:  # fmt: skip
        queue = [*encoders, *encoders]  # opened once to try, once to run
        self.stages: list[tuple[str, int, list[int]]] = []

        def stage(label: str, total: int, /) -> Progress:
            self.stages.append((label, total, []))
            return self.stages[-1][2].append

        return run_parity(
            artifacts or [self.artifact] * len(encoders),
            checkpoint=self.checkpoint, corpus=self.corpus, recipe=recipe or self.recipe,
            open_reference=lambda dtype: Candidate(self.references[dtype], name=dtype),
            open_artifact=lambda _: queue.pop(0), stages=stage, dims=dims,
        )  # fmt: skip

    def candidate(
        self, change: Callable[[Vectors], Vectors] = lambda v: v,
        tokens: Callable[[list[int]], list[int]] = lambda row: row,
    ) -> Candidate:  # fmt: skip
        return Candidate(self.references["float32"], change, tokens)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def sound(bench: Bench) -> ParityReport:
    return bench.run(bench.candidate())


def noisy(size: float) -> Callable[[Vectors], Vectors]:
    def change(vectors: Vectors) -> Vectors:
        rng = np.random.default_rng(0)
        noise = rng.standard_normal(vectors.shape).astype(np.float32)
        return vectors + size * noise / np.float32(np.sqrt(vectors.shape[1]))

    return change


def loosened(recipe: Recipe, **limits: float) -> Recipe:
    """Return the recipe with limits that only the named ones can break."""
    plain = {"cosine_p1_min": -1.0, "overlap_at_10_min": 0.0, "mrr_at_10_margin": 0.999}
    wide = Limits(**{**plain, **limits}, reason="one limit at a time")
    return recipe.model_copy(update={"limits": {**recipe.limits, "fp32": wide}})


def test_the_same_function_passes_with_cosine_one_at_every_dim(
    bench: Bench, sound: ParityReport
) -> None:
    result = sound.artifacts[0]
    assert [d.dim for d in result.dims] == [64, 32, 16]
    assert all(d.cosine.minimum > 1 - 1e-12 for d in result.dims)
    assert all(d.overlap_at_10 == 1.0 for d in result.dims)
    assert result.tokens_differ == 0
    assert result.verdict == sound.verdict == "pass", result.reasons
    assert sound.of_manifest(sha256_file(bench.artifact / MANIFEST_NAME)) == result
    assert sound.of_manifest("0" * 64) is None


def test_each_distinct_text_is_encoded_once_and_counted(bench: Bench) -> None:
    candidate = bench.candidate()
    bench.run(candidate)
    assert len(candidate.encoded) == len(set(candidate.encoded)) == 59 + 30
    assert [(label, total) for label, total, _ in bench.stages] == [
        ("float32", 89), ("bfloat16", 89), ("onnx-fp32", 89),
    ]  # fmt: skip
    assert all(sum(done) == total for _, total, done in bench.stages)


def test_the_noise_floor_is_bf16_against_fp32(bench: Bench, sound: ParityReport) -> None:
    floor = sound.noise_floor[0]
    assert 0.999 < floor.cosine.minimum < 1 - 1e-6
    assert 0.9 < floor.overlap_at_10 <= 1.0
    assert floor.mrr_at_10_bf16 == sound.artifacts[0].dims[0].reference.mrr_at_10


def test_retrieval_is_compared_with_bf16_and_cosines_with_fp32(
    bench: Bench, sound: ParityReport
) -> None:
    as_bf16 = bench.run(Candidate(bench.references["bfloat16"])).artifacts[0].dims[0]
    assert as_bf16.overlap_at_10_bf16 == 1.0
    assert as_bf16.overlap_at_10 == sound.noise_floor[0].overlap_at_10
    assert as_bf16.mrr_difference.mean == as_bf16.mrr_difference.low == 0.0
    assert as_bf16.first_place_changed == 0
    assert as_bf16.cosine == sound.noise_floor[0].cosine
    assert as_bf16.queries_on_reference_index == as_bf16.reference == as_bf16.metrics


def test_another_basis_is_harmless_on_both_sides_and_ruins_a_shipped_index(bench: Bench) -> None:
    # Rotated vectors rank among themselves as before, and mean nothing to the old table.
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))
    rotated = bench.candidate(lambda vectors: (vectors @ basis).astype(np.float32))
    result = bench.run(rotated, dims=[64], recipe=loosened(bench.recipe)).artifacts[0].dims[0]
    assert result.metrics.mrr_at_10 == pytest.approx(result.reference.mrr_at_10, abs=0.02)
    assert result.queries_on_reference_index.mrr_at_10 < result.reference.mrr_at_10 / 2
    assert result.queries_on_reference_index_difference.high < 0
    assert result.reference_queries_on_index_difference.high < 0


@pytest.mark.parametrize(
    ("size", "limits", "named"),
    [
        (0.1, {"cosine_p1_min": 0.999}, "cosine_p1_min"),
        (0.5, {"overlap_at_10_min": 0.97}, "overlap_at_10_min"),
        (30.0, {"mrr_at_10_margin": 0.01}, "mrr_at_10_margin"),
    ],
)
def test_a_damaged_artifact_closes_the_gate_by_the_limit_it_breaks(
    bench: Bench, size: float, limits: dict[str, float], named: str
) -> None:
    recipe = loosened(bench.recipe, **limits)
    assert bench.run(bench.candidate(), recipe=recipe).verdict == "pass"
    result = bench.run(bench.candidate(noisy(size)), recipe=recipe).artifacts[0]
    assert result.verdict == "fail"
    assert result.reasons
    assert all(named in reason for reason in result.reasons)


def test_a_dropped_end_token_closes_the_gate_whatever_the_vectors(bench: Bench) -> None:
    candidate = bench.candidate(tokens=lambda row: row[:-1])
    result = bench.run(candidate, recipe=loosened(bench.recipe)).artifacts[0]
    assert result.verdict == "fail"
    assert result.tokens_differ == 60 + 30
    assert "token ids differ" in result.reasons[0]
    assert "instead of [1]" in str(result.first_token_difference)


def test_vectors_that_are_not_finite_fail_the_artifact_and_spare_the_others(bench: Bench) -> None:
    def overflow(vectors: Vectors) -> Vectors:
        return np.where(np.arange(len(vectors))[:, None] == 5, np.float32("nan"), vectors)

    report = bench.run(bench.candidate(overflow), bench.candidate())
    broken, fine = report.artifacts
    assert (broken.verdict, fine.verdict, report.verdict) == ("fail", "pass", "fail")
    assert broken.dims == ()
    assert "not finite" in broken.reasons[0]
    assert "not finite" in render_markdown(report).splitlines()[0]


def test_a_damaged_vector_is_found_among_the_worst_texts(bench: Bench) -> None:
    def one_wrong(vectors: Vectors) -> Vectors:
        wrong = vectors.copy()
        wrong[7] = -wrong[7]
        return wrong

    result = bench.run(bench.candidate(one_wrong)).artifacts[0]
    worst = result.dims[0].cosine.worst[0]
    assert worst.id == "d007"
    assert worst.cosine == pytest.approx(-1.0)
    assert worst.text.startswith("title: ")
    assert len(result.dims[0].cosine.worst) == 10


def test_only_the_dims_asked_for_are_judged(bench: Bench) -> None:
    report = bench.run(bench.candidate(), dims=[16, 32])
    assert [d.dim for d in report.artifacts[0].dims] == [32, 16]
    with pytest.raises(BadInput, match="65 is not between 1 and 64"):
        bench.run(bench.candidate(), dims=[65])
    with pytest.raises(BadInput, match="names no dim"):
        bench.run(bench.candidate(), dims=[])


def test_an_artifact_of_another_checkpoint_is_refused(bench: Bench, tmp_path: Path) -> None:
    other = read_checkpoint(make_tiny_checkpoint(tmp_path / "other", seed=1))
    artifact = bench.make_artifact(tmp_path / "artifact", checkpoint=other)
    with pytest.raises(BadInput, match=r"was not made from .*safetensors differs"):
        bench.run(bench.candidate(), artifacts=[artifact])


def test_an_artifact_for_other_prompts_is_refused(bench: Bench, tmp_path: Path) -> None:
    prompts = Prompts(query="query: {text}")
    other = read_checkpoint(bench.checkpoint.path, prompts=prompts)
    artifact = bench.make_artifact(tmp_path / "artifact", checkpoint=other)
    with pytest.raises(BadInput, match=r"query: \{text\}"):
        bench.run(bench.candidate(), artifacts=[artifact])


def test_an_artifact_changed_since_its_manifest_is_refused(bench: Bench, tmp_path: Path) -> None:
    artifact = bench.make_artifact(tmp_path / "artifact")
    (artifact / "model.onnx").write_bytes(b"y")
    with pytest.raises(BadInput, match="differs from its manifest"):
        bench.run(bench.candidate(), artifacts=[artifact])


def test_a_scheme_without_limits_is_refused_before_the_long_steps(
    bench: Bench, tmp_path: Path
) -> None:
    artifact = bench.make_artifact(tmp_path / "artifact", scheme="q3_x")
    with pytest.raises(BadInput, match="q3_x"):
        bench.run(bench.candidate(), artifacts=[artifact])
    assert bench.stages == []


def test_parity_json_reads_back_and_the_same_run_gives_the_same_bytes(
    bench: Bench, sound: ParityReport, tmp_path: Path
) -> None:
    write_report(tmp_path / "one", sound)
    write_report(tmp_path / "two", bench.run(bench.candidate()))
    names = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert names == ["parity.json", "parity.md"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert read_report(tmp_path / "one" / "parity.json") == sound


def test_parity_md_begins_with_the_verdict_and_shows_every_dim(sound: ParityReport) -> None:
    text = render_markdown(sound)
    assert text.startswith("**pass**: onnx-fp32 may replace tiny")
    rows = [line for line in text.splitlines() if line.startswith("| onnx-fp32 ")]
    assert len(rows) == 3
    header = next(line for line in text.splitlines() if line.startswith("| artifact"))
    assert {line.count("|") for line in rows} == {header.count("|")}


def test_a_closed_gate_is_the_first_line_with_its_reason(bench: Bench) -> None:
    line = first_line(bench.run(bench.candidate(noisy(3.0))))
    assert line.startswith("**fail**: onnx-fp32 fail (dim 64: cosine 1st percentile")


def test_a_missing_damaged_or_foreign_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "parity.json"
    with pytest.raises(BadInput, match="no parity report"):
        read_report(path)
    for text in ("{", json.dumps({"schema_version": 9}), "[]"):
        path.write_text(text)
        with pytest.raises(BadInput, match="not a sound parity report"):
            read_report(path)
