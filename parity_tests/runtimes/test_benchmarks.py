"""The benchmarks' machinery, on a tiny checkpoint; their figures are never tested."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import ablation, peers, peers_quality
from benchmarks.ablation_rows import EVERY, ByLayer, symmetric
from benchmarks.peer_files import NOISE, PEERS, QUALITY, SPEED, chosen_names
from benchmarks.peer_made import Job
from benchmarks.peer_steps import StepFailed, alone, here
from benchmarks.peer_vectors import padded_batches
from benchmarks.sampled import split, spread_over
from exporter.corpus.beir import read_corpus
from exporter.errors import BadInput
from parity_tests.tiny_checkpoint import make_tiny_checkpoint
from parity_tests.tiny_corpus import make_tiny_corpus

TWO = "ours fp32,ours int8"
EIGHT_TEXTS = ("--documents", "4")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, and as many tokens as the speed benchmark feeds."""
    folder = tmp_path_factory.mktemp("small") / "small"
    return make_tiny_checkpoint(folder, layers=2, max_tokens=128)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_corpus(tmp_path_factory.mktemp("corpus") / "few", documents=24, questions=8)


@pytest.fixture(scope="module")
def options(
    small: Path, corpus: Path, few_texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    folder = tmp_path_factory.mktemp("quality")
    return [
        "--checkpoint",
        str(small),
        "--corpus",
        str(corpus),
        "--calibration",
        str(few_texts),
        "--work",
        str(folder / "work"),
        "--output",
        str(folder / "out"),
        "--dims",
        "64,16",
        *EIGHT_TEXTS,
    ]


def test_quality_puts_bf16_first_and_measures_each_file(options: list[str]) -> None:
    file = peers_quality.run([*options, "--only", TWO], step=here)
    found = json.loads(file.with_suffix(".json").read_text("utf-8"))
    assert list(found["rows"]) == [NOISE, *TWO.split(",")]
    exact, rounded = (found["rows"][name] for name in TWO.split(","))
    assert exact["errors"]["64"]["worst"] < 1e-6 < rounded["errors"]["64"]["median"]
    assert set(rounded["errors"]) == set(rounded["ways"]) == {"64", "16"}
    assert set(rounded["ways"]["64"]) == {"both", "queries", "documents"}
    assert exact["padding"]["worst"] < 1e-6
    assert rounded["mb"] < exact["mb"]
    assert found["about"]["weights_sha256"].keys() == {"model.safetensors"}
    assert found["about"]["questions"] == found["about"]["choosing"] == 4
    assert file.with_suffix(".png").stat().st_size > 10_000


def test_a_second_run_makes_and_encodes_nothing_again(options: list[str]) -> None:
    peers_quality.run([*options, "--only", TWO], step=here)
    work = Path(options[options.index("--work") + 1])

    def state() -> dict[str, int]:
        made = {path: path.stat().st_mtime_ns for path in work.glob("files/*/*")}
        padded = {path: path.stat().st_mtime_ns for path in work.glob("padding/*")}
        rows = {path: path.stat().st_size for path in work.glob("vectors/*.f32")}
        return {str(path): value for path, value in (made | padded | rows).items()}

    before = state()
    peers_quality.run([*options, "--only", TWO], step=here)
    assert state() == before


def test_a_file_that_fails_is_left_out_by_name(options: list[str]) -> None:
    def step(step: str, name: str, job: Job, texts: Path | None = None) -> dict[str, Any]:
        if name == "ours int8":
            raise StepFailed("ended by signal 11")
        return here(step, name, job, texts)

    file = peers_quality.run([*options, "--only", TWO, "--choose"], step=step)
    assert "- ours int8: ended by signal 11" in file.read_text("utf-8")
    assert "not the figures of the files" in file.read_text("utf-8")
    assert "ours fp32" in file.read_text("utf-8")


@pytest.mark.slow
def test_steps_in_processes_of_their_own_say_why_they_failed(
    small: Path, tmp_path: Path, few_texts: Path
) -> None:
    job = Job(small, None, few_texts, tmp_path)
    made = alone("make", "ours fp32", job)
    assert made["mb"] > 0 < made["peak_mb"]
    assert alone("load", "ours fp32", job)["seconds"] > 0
    with pytest.raises(StepFailed, match="no such calibration file"):
        alone("make", "ours int8", Job(small, None, tmp_path / "none.jsonl", tmp_path))


def test_speed_times_the_files_by_turns(small: Path, few_texts: Path, tmp_path: Path) -> None:
    file = peers.run(
        [
            "--checkpoint",
            str(small),
            "--calibration",
            str(few_texts),
            "--only",
            TWO,
            "--rounds",
            "1",
            "--work",
            str(tmp_path / "w"),
            "--output",
            str(tmp_path / "out"),
        ],
        step=here,
    )
    found = json.loads(file.with_suffix(".json").read_text("utf-8"))
    assert set(found["results"]) == set(TWO.split(","))
    assert set(found["results"]["ours int8"]["ms"]) == set(peers.SHAPES)


def test_names_and_dims_are_checked_before_anything_is_made(options: list[str]) -> None:
    with pytest.raises(BadInput, match="did you mean 'ours int8'"):
        peers_quality.run([*options, "--only", "our int8"])
    with pytest.raises(BadInput, match="have 64 components"):
        peers_quality.run([*options, "--dims", "65"])
    with pytest.raises(BadInput, match="not a list"):
        peers_quality.run([*options, "--dims", "all"])
    assert set(SPEED) | set(QUALITY) <= set(PEERS)
    assert not any("," in name for name in PEERS)
    assert all(peer.after in {"", *PEERS} for peer in PEERS.values())
    assert chosen_names(None, QUALITY) == list(QUALITY)


def test_questions_that_choose_never_prove(tmp_path: Path) -> None:
    corpus = read_corpus(make_tiny_corpus(tmp_path / "c"))
    parts = split(corpus, documents=40, choosing=10)
    chooses, proves = parts.asked("choosing"), parts.asked("proving")
    assert (len(chooses.query_ids), len(proves.query_ids)) == (10, 20)
    assert not set(chooses.query_ids) & set(proves.query_ids)
    assert len(proves.doc_ids) == 40
    answers = {d for grades in corpus.qrels.values() for d in grades}
    assert answers <= set(proves.doc_ids)
    assert split(corpus, documents=1).asked("proving").doc_ids == tuple(sorted(answers))


def test_batches_hold_to_both_limits_and_samples_spread_over_lengths() -> None:
    lengths = [2000, 10, 3000, *([20] * 40)]
    batches = padded_batches(lengths)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert max(map(len, batches)) == 32
    assert all(len(b) * max(lengths[i] for i in b) <= 8192 for b in batches)
    assert spread_over([5, 300, 1, 200, 100], 2) == [2, 3]
    assert spread_over([300, 400], 2) == [0]


def test_ablation_measures_rows_and_keeps_those_of_before(
    small: Path, corpus: Path, tmp_path: Path
) -> None:
    options = [
        "--checkpoint",
        str(small),
        "--corpus",
        str(corpus),
        "--calibration",
        str(corpus),
        "--texts",
        "4",
        "--fit-on",
        "16",
        "--output",
        str(tmp_path),
    ]
    ablation.run([*options, "--only", "inputs: a static scale;int8: GPTQ on"])
    file = ablation.run([*options, "--only", "table: 8;table: 4"])
    rows = json.loads(file.with_suffix(".json").read_text("utf-8"))["rows"]
    assert len(rows) == 4
    assert rows["table: 8 bits"]["median"] < rows["table: 4 bits"]["median"]
    assert "| int8: GPTQ on texts of the corpus |" in file.read_text("utf-8")
    with pytest.raises(BadInput, match="did you mean 'table: 8 bits'"):
        ablation.run([*options, "--only", "table: 8 bit s"])
    assert len(EVERY) == len({row.name for row in EVERY.values()})


def test_texts_that_fit_are_none_of_those_held_back(small: Path, corpus: Path) -> None:
    from exporter.checkpoint.read import read_checkpoint

    checkpoint = read_checkpoint(small)
    held_back, bare = ablation.held_back_texts(read_corpus(corpus), checkpoint, 2)
    assert len(held_back) == 4
    fitted = ablation.fitting_texts(corpus, 64, without=bare, checkpoint=checkpoint)
    assert fitted
    assert not set(fitted) & set(held_back)


def test_a_static_scale_is_each_layers_and_sites_own() -> None:
    torch = pytest.importorskip("torch")
    measured = ByLayer()
    for layer in range(2):
        for batch in range(2):
            for site in ("attention_in", "attended", "mlp_in", "product"):
                measured(layer, site, torch.full((1, 1), float(10 * layer + batch)))
    assert measured.largest[0, "product"] == 1
    assert measured.largest[1, "mlp_in"] == 11
    rounds = ByLayer(measured.largest)
    assert float(rounds(0, "attention_in", torch.tensor([[3.0]]))) == 1  # clipped at its largest


def test_signed_grids_find_the_scale_with_the_least_error() -> None:
    torch = pytest.importorskip("torch")
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32))
    grid = symmetric(values, torch.ones(64), block=32, high=7)
    off = (grid.values(grid.nearest(values)) - values).square().mean()
    widest = values.view(8, 2, 32).abs().amax(-1) / 7
    plain = type(grid)(scale=widest, group=grid.group, low=-7, high=7)
    assert off < (plain.values(plain.nearest(values)) - values).square().mean()


@pytest.mark.slow
def test_a_domains_vocabulary_is_measured_beside_the_whole_table(
    small: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import domain_vocabulary

    given = ["--checkpoint", small, "--corpus", corpus, "--artifacts", tmp_path / "made"]
    given += ["--only", "onnx-int8", "--output", tmp_path / "result.md"]
    monkeypatch.setattr("sys.argv", ["domain_vocabulary", *map(str, given)])
    for _ in range(2):  # the second finds the artifacts of the first
        domain_vocabulary.main()
        rows = (tmp_path / "result.md").read_text("utf-8").splitlines()
        _, _, kept, same, others, *_ = next(
            row for row in rows if row.startswith("| onnx-int8") and "/" not in row
        ).split("|")
        assert kept.strip() == same.strip()
        assert int(kept) + int(others) == 8
        assert any(row.startswith("| onnx-int8") and "/" in row for row in rows)
