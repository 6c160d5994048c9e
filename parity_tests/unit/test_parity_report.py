"""A whole parity run on a tiny checkpoint: sound candidates pass, broken ones close the gate."""

import itertools
import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import Corpus, read_corpus
from exporter.corpus.hard_texts import HARD_TEXTS
from exporter.errors import BadInput
from exporter.hashing import sha256_file
from exporter.manifest import MANIFEST_NAME, Built, TensorRecord, write_manifest
from exporter.parity.results import SCHEMA_VERSION, ParityReport
from exporter.parity.run import run_parity
from exporter.recipe import Limits, Recipe, read_recipe
from exporter.report.html import render_html
from exporter.report.markdown import first_line, render_markdown
from exporter.report.words import words_of
from exporter.report.write import read_report, write_report
from exporter.runtimes.encoder import Encoder, Original, Progress, Source, Vectors, unit_rows
from exporter.runtimes.original import CheckpointTokens
from exporter.vectors.embed import Texts
from parity_tests.conftest import LAWVAULT_PROMPTS
from parity_tests.tiny_checkpoint import make_tiny_checkpoint
from parity_tests.tiny_corpus import make_tiny_corpus

pytest.importorskip("sentence_transformers")
from exporter.runtimes.torch_reference import TorchReference

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "default.toml"


class Remembered:
    """An encoder that encodes each text once in the whole module: torch is slow to repeat."""

    def __init__(self, inner: Encoder) -> None:
        self.inner, self.name, self.dim = inner, inner.name, inner.dim
        self.known: dict[str, Vectors] = {}

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        return self.inner.token_ids(texts, prompt=prompt)

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:
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
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:
        self.encoded += texts
        vectors = self.inner.encode(texts, prompt=prompt, on_progress=on_progress)
        return unit_rows(self.change(vectors), texts, dim=dim, source=self.name)

    def close(self) -> None:
        pass


def as_source(encoder: Encoder) -> Source:
    return Source(encoder.name, encoder.dim, {"name": encoder.name}, lambda **_: encoder)


class Bench:
    """Everything a run needs, with the references embedded by real torch."""

    def __init__(self, folder: Path) -> None:
        self.checkpoint: Checkpoint = read_checkpoint(
            make_tiny_checkpoint(folder / "tiny"), prompts=LAWVAULT_PROMPTS
        )
        self.corpus: Corpus = read_corpus(make_tiny_corpus(folder / "corpus"))
        self.recipe: Recipe = read_recipe(RECIPE)
        self.references = {
            "float32": Remembered(TorchReference(self.checkpoint, dtype="float32", device="cpu")),
            "bfloat16": Remembered(TorchReference(self.checkpoint, dtype="bfloat16", device="cpu")),
        }
        self.folder, self.count = folder, itertools.count()
        self.artifact = self.make_artifact(folder / "artifact")

    def make_artifact(
        self, folder: Path, *, checkpoint: Checkpoint | None = None, scheme: str = "fp32"
    ) -> Path:
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"x")
        write_manifest(
            folder,
            checkpoint or self.checkpoint,
            Built(
                format="onnx",
                scheme=scheme,
                entry="model.onnx",
                tensors=(TensorRecord(name="t", dtype="F32", shape=(2, 2), bits_per_weight=32),),
                libraries=(),
            ),
        )
        return folder

    def run(
        self,
        *encoders: Encoder,
        artifacts: Sequence[Path] | None = None,
        recipe: Recipe | None = None,
        dims: Sequence[int] | None = None,
        cache: Path | None = None,
        pool_sample: int = 500,
        kernels: str | None = None,
    ) -> ParityReport:
        queue = list(encoders)
        folders = artifacts or [
            self.make_artifact(self.folder / f"run-{next(self.count)}") for _ in encoders
        ]
        sources = {
            folder: replace(as_source(encoder), identity={"folder": str(folder)}, kernels=kernels)
            for folder, encoder in zip(folders, queue, strict=True)
        }
        self.stages: list[tuple[str, int, list[int]]] = []
        self.told: list[str] = []

        def stage(label: str, total: int, /) -> Progress:
            self.stages.append((label, total, []))
            return self.stages[-1][2].append

        original = Original(
            checkpoint=self.checkpoint,
            tokens=CheckpointTokens(self.checkpoint),
            truth=as_source(Candidate(self.references["float32"], name="float32")),
            used=as_source(Candidate(self.references["bfloat16"], name="bfloat16")),
        )
        return run_parity(
            folders,
            original=original,
            corpus=self.corpus,
            recipe=recipe or self.recipe,
            artifact_source=lambda folder: sources[folder],
            stages=stage,
            dims=dims,
            cache=cache,
            tell=self.told.append,
            pool_sample=pool_sample,
        )

    def candidate(
        self,
        change: Callable[[Vectors], Vectors] = lambda v: v,
        tokens: Callable[[list[int]], list[int]] = lambda row: row,
    ) -> Candidate:
        return Candidate(self.references["float32"], change, tokens)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def sound(bench: Bench) -> ParityReport:
    return bench.run(bench.candidate(), artifacts=[bench.artifact])


def noisy(size: float) -> Callable[[Vectors], Vectors]:
    def change(vectors: Vectors) -> Vectors:
        # A text always gets the same noise, alone or in company.
        seeds = [zlib.crc32(row.tobytes()) for row in vectors]
        noise = [np.random.default_rng(s).standard_normal(vectors.shape[1]) for s in seeds]
        scaled = size * np.array(noise, np.float32) / np.sqrt(vectors.shape[1])
        return (vectors + scaled).astype(np.float32)

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
    assert all(d.deployed("both").overlap_at_10.mean == 1.0 for d in result.dims)
    assert result.tokens_differ == 0
    assert result.verdict == sound.verdict == "pass", result.reasons
    assert sound.of_manifest(sha256_file(bench.artifact / MANIFEST_NAME)) == result
    assert sound.of_manifest("0" * 64) is None


def test_each_distinct_text_is_encoded_once_and_counted(bench: Bench) -> None:
    candidate = bench.candidate()
    bench.run(candidate)
    once = candidate.encoded[: 59 + 30]  # then the sample whose invariance is measured
    assert len(set(once)) == 59 + 30
    assert set(candidate.encoded) == set(once)
    assert [(label, total) for label, total, _ in bench.stages] == [
        ("float32", 89),
        ("bfloat16", 89),
        ("onnx-fp32", 89),
        ("onnx-fp32: companions, padding, threads", 16),
        ("float32", 30 + 30 * 6),
    ]
    assert all(sum(done) == total for _, total, done in bench.stages)


def test_the_noise_floor_is_bf16_against_fp32(bench: Bench, sound: ParityReport) -> None:
    floor = sound.noise_floor[0]
    assert 0.999 < floor.cosine.minimum < 1 - 1e-6
    assert 0.9 < floor.deployed("both").overlap_at_10 <= 1.0
    full = sound.artifacts[0].dims[0]
    assert floor.mrr_at_10_bf16 == full.baseline.mrr_at_10
    assert floor.mrr_at_10_fp32 == full.reference.mrr_at_10
    found = floor.deployed("both").mrr_difference
    assert found.mean == pytest.approx(floor.mrr_at_10_bf16 - floor.mrr_at_10_fp32)


def test_bf16_itself_has_the_figures_of_the_noise_floor(bench: Bench, sound: ParityReport) -> None:
    as_bf16 = bench.run(Candidate(bench.references["bfloat16"])).artifacts[0].dims[0]
    assert as_bf16.cosine == sound.noise_floor[0].cosine
    assert as_bf16.error_over_noise == 1.0
    for deployment in as_bf16.deployments:
        floor = sound.noise_floor[0].deployed(deployment.way)
        assert deployment.overlap_at_10.mean == floor.overlap_at_10
        assert deployment.cosine_p1 == floor.cosine_p1
        assert deployment.differences.mrr_at_10 == floor.mrr_difference
    both = as_bf16.deployed("both")
    assert both.mrr_to_bf16.mean == 0.0
    assert both.metrics == as_bf16.baseline
    assert as_bf16.rank_flips.first_place[1][2] == 0  # bf16, and the artifact on both sides


def test_cosines_of_a_way_are_those_of_the_texts_it_embeds(bench: Bench) -> None:
    """Documents begin with another prompt than questions: only theirs are moved here."""
    texts = Texts(bench.corpus, bench.checkpoint.prompts)
    rendered = texts.all[: texts.documents]
    documents = set(bench.references["float32"].encode(rendered)[:, 0].tolist())

    def change(vectors: Vectors) -> Vectors:
        moved = noisy(1.0)(vectors)
        theirs = np.array([row[0] in documents for row in vectors.tolist()])
        return np.where(theirs[:, None], moved, vectors).astype(np.float32)

    found = bench.run(bench.candidate(change), recipe=loosened(bench.recipe))
    both, queries, by_documents = found.artifacts[0].dims[0].deployments
    assert queries.cosine_p1 > 1 - 1e-6
    assert by_documents.cosine_p1 < 0.95
    assert both.cosine_p1 < 0.95


def test_another_basis_is_harmless_on_both_sides_and_ruins_a_shipped_index(bench: Bench) -> None:
    # Rotated vectors rank among themselves as before, and mean nothing to the old table.
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))
    rotated = bench.candidate(lambda vectors: (vectors @ basis).astype(np.float32))
    result = bench.run(rotated, dims=[64], recipe=loosened(bench.recipe)).artifacts[0].dims[0]
    both, queries, documents = result.deployments
    base = result.reference.mrr_at_10
    assert both.metrics.mrr_at_10 == pytest.approx(base, abs=0.02)
    for ruined in (queries, documents):
        assert ruined.metrics.mrr_at_10 < base / 2
        assert ruined.differences.mrr_at_10.high < 0
        assert ruined.mcnemar.lost > ruined.mcnemar.won
    flips = result.rank_flips
    assert flips.names == ("torch fp32", "torch bf16", "both", "queries", "documents")
    assert flips.first_place[0][2] < 5 < flips.first_place[0][3]
    assert flips.first_place[3] == tuple(row[3] for row in flips.first_place)


def test_a_way_of_deployment_that_is_not_judged_is_still_measured(bench: Bench) -> None:
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))
    rotated = bench.candidate(lambda vectors: (vectors @ basis).astype(np.float32))
    recipe = loosened(bench.recipe, overlap_at_10_min=0.5)
    recipe = recipe.model_copy(update={"ways": ("both", "queries", "documents")})
    judged = bench.run(rotated, dims=[64], recipe=recipe).artifacts[0]
    assert judged.verdict == "fail"
    assert "its queries on the original's index: overlap@10" in judged.reasons[0]
    assert judged.dims[0].deployed("both").verdict == "pass"
    both = recipe.model_copy(update={"ways": ("both",)})
    report = bench.run(rotated, dims=[64], recipe=both)
    assert report.artifacts[0].verdict == "pass"
    assert report.artifacts[0].dims[0].deployed("queries").verdict == "fail"
    assert "judged: `its queries, its index`" in render_markdown(report)


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
    assert result.tokens_differ == 60 + 30 + len(HARD_TEXTS)
    assert "token ids differ" in result.reasons[0]
    assert result.dims == ()  # other ids are other texts: no vector was compared
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
    text = f"title: {bench.corpus.titles[7]} | text: {bench.corpus.texts[7]}"
    right = bench.references["float32"].encode([text])[0]

    def one_wrong(vectors: Vectors) -> Vectors:
        return np.where((vectors == right).all(axis=1, keepdims=True), -vectors, vectors)

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
    prompts = Prompts(query="query: {text}", document="title: {title} | text: {text}")
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
    again = bench.run(bench.candidate(), artifacts=[bench.artifact])
    write_report(tmp_path / "two", again)
    names = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert names == ["parity.html", "parity.json", "parity.md"]
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


def test_the_kernels_that_ran_stand_in_the_reports_in_one_line(sound: ParityReport) -> None:
    assert "Kernels:" not in render_markdown(sound)
    (artifact,) = sound.artifacts
    named = artifact.model_copy(update={"kernels": "extra buffers on; AVX2 LLAMAFILE"})
    report = sound.model_copy(update={"artifacts": (named,)})
    assert "- Kernels: extra buffers on; AVX2 LLAMAFILE." in render_markdown(report).splitlines()
    assert ParityReport.model_validate_json(report.model_dump_json()) == report


def test_what_a_source_says_of_its_kernels_is_reported(bench: Bench) -> None:
    report = bench.run(bench.candidate(), kernels="extra buffers off; NEON")
    assert [a.kernels for a in report.artifacts] == ["extra buffers off; NEON"]


def test_a_closed_gate_is_the_first_line_with_its_reason(bench: Bench) -> None:
    line = first_line(bench.run(bench.candidate(noisy(3.0))))
    assert line.startswith("**fail**: onnx-fp32 fail (its vectors lie too far from the original's")


def test_a_missing_damaged_or_foreign_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "parity.json"
    with pytest.raises(BadInput, match="no parity report"):
        read_report(path)
    for text, said in (
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is nested too deeply"),
        (json.dumps({"schema_version": SCHEMA_VERSION}), "not a sound parity report"),
        ("[]", "not a sound parity report"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=said):
            read_report(path)
    path.write_text(json.dumps({"schema_version": 5}))
    with pytest.raises(
        BadInput, match=rf"has schema version 5, this tool reads {SCHEMA_VERSION}; run 'lawvault"
    ):
        read_report(path)


def test_a_vector_that_depends_on_its_companions_closes_the_gate(bench: Bench) -> None:
    def shifted(vectors: Vectors) -> Vectors:
        return vectors + np.float32(0.01) * vectors.mean(axis=0)

    sound = bench.run(bench.candidate(), recipe=loosened(bench.recipe)).artifacts[0]
    assert sound.invariance is not None
    assert sound.invariance.as_used_changed == 0
    result = bench.run(bench.candidate(shifted), recipe=loosened(bench.recipe)).artifacts[0]
    assert result.verdict == "fail"
    assert "depends on the other texts of its batch" in result.reasons[0]


class Stopped(Exception):
    """Stands for Ctrl-C or a kill."""


def test_a_stopped_run_goes_on_where_it_was_and_ends_with_the_same_report(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.vectors.embed.SHARD_TEXTS", 20)
    folder = bench.make_artifact(tmp_path / "artifact")
    whole = bench.run(bench.candidate(), artifacts=[folder])
    candidate = bench.candidate()

    def dies(vectors: Vectors) -> Vectors:
        if len(candidate.encoded) > 50:
            raise Stopped
        return vectors

    candidate.change = dies
    cache = tmp_path / "vectors"
    with pytest.raises(Stopped):
        bench.run(candidate, artifacts=[folder], cache=cache)
    first = len(candidate.encoded)
    assert first == 60  # three shards, the third of them lost
    candidate.change = lambda vectors: vectors
    candidate.encoded = []
    report = bench.run(candidate, artifacts=[folder], cache=cache)
    assert report == whole
    assert len(candidate.encoded[: 89 - 40]) == 49
    assert [label for label, _, _ in bench.stages][:2] == [
        "float32, kept from before",
        "bfloat16, kept from before",
    ]
    candidate.encoded = []
    assert bench.run(candidate, artifacts=[folder], cache=cache) == whole
    sample = whole.artifacts[0].invariance
    assert sample is not None
    assert len(candidate.encoded) == 3 * sample.texts


def test_a_corpus_that_changed_gets_new_vectors_for_what_changed(
    bench: Bench, tmp_path: Path
) -> None:
    candidate = bench.candidate()
    folder = bench.make_artifact(tmp_path / "artifact")
    cache = tmp_path / "vectors"
    bench.run(candidate, artifacts=[folder], cache=cache)
    old = bench.corpus
    changed = ("另一条", *old.texts[1:])
    candidate.encoded = []
    bench.corpus = replace(old, texts=changed)
    try:
        known = bench.run(candidate, artifacts=[folder], cache=cache)
        assert known == bench.run(bench.candidate(), artifacts=[folder])
    finally:
        bench.corpus = old
    assert any("另一条" in text for text in candidate.encoded)


def test_a_reference_that_gives_nan_stops_the_run(bench: Bench) -> None:
    right = bench.references
    broken = Candidate(right["bfloat16"], lambda vectors: vectors * np.float32("nan"))
    bench.references = {**right, "bfloat16": broken}
    try:
        with pytest.raises(BadInput, match=r"onnx-fp32 gave a vector that is not finite|bf16"):
            bench.run(bench.candidate())
    finally:
        bench.references = right


def test_an_encoder_of_another_width_fails_and_is_named(bench: Bench) -> None:
    candidate = bench.candidate(lambda vectors: vectors[:, :32])
    result = bench.run(candidate).artifacts[0]
    assert result.verdict == "fail"
    assert "gave vectors of 32 dimensions, not 64" in result.reasons[0]


def test_each_length_has_its_own_figures(bench: Bench, sound: ParityReport) -> None:
    buckets = sound.artifacts[0].dims[0].lengths
    assert [b.label for b in buckets] == ["up to 9 (the window)", "10 to 128", "over 128", "cut"]
    assert sum(b.texts for b in buckets) == 60 + 30
    assert sum(b.questions for b in buckets) == 30
    assert all((b.cosine is None) == (b.texts == 0) for b in buckets)
    assert all((b.mrr_at_10 is None) == (b.questions == 0) for b in buckets)


def test_stray_white_space_is_measured_under_both_conventions(sound: ParityReport) -> None:
    kinds = sound.stripping.white_space
    assert {(w.where, w.character) for w in kinds} == {
        (where, c) for where in ("leading", "trailing") for c in ("U+0020", "U+3000", "U+000A")
    }
    assert all(w.given_minimum < 1 - 1e-6 for w in kinds)
    # The query prompt is bare: stripping takes off all that was put on.
    assert all(w.stripped_minimum > 1 - 1e-12 for w in kinds)
    assert all(w.stripped_first_place_changed == 0 for w in kinds)
    assert "leading U+3000" in render_markdown(sound)


def test_a_page_in_chinese_holds_the_same_figures_and_no_english_heading(
    sound: ParityReport,
) -> None:
    english, chinese = render_html(sound), render_html(sound, words_of("zh"))
    assert '<html lang="zh-CN">' in chinese
    assert english != chinese
    figures = re.compile(r"[0-9]\.[0-9]{3,}")
    assert figures.findall(english) == figures.findall(chinese)
    headings = re.findall(r"<h[23][^>]*>([^<]*)", chinese)
    assert any("名次" in heading for heading in headings)
    for word in ("verdict", "artifact", "Rank flips", "Ways of deployment"):
        assert all(word not in heading for heading in headings)


def test_the_markdown_in_chinese_holds_the_same_figures(sound: ParityReport) -> None:
    english, chinese = render_markdown(sound), render_markdown(sound, words_of("zh"))
    figures = re.compile(r"[0-9]\.[0-9]{3,}")
    # A sentence may name them in another order.
    assert sorted(figures.findall(english)) == sorted(figures.findall(chinese))
    assert chinese.splitlines()[0].startswith("**通过**：")
    for heading in re.findall(r"^#+ (.*)$", chinese, re.MULTILINE):
        assert re.search("[\u4e00-\u9fff]", heading), heading
    assert "%%" not in english + chinese
