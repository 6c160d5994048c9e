"""lawvault card: the card is read back by huggingface_hub's own classes."""

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_cpp")
pytest.importorskip("onnxruntime")

from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.main import main
from exporter.errors import BadInput
from exporter.manifest import read_manifest
from exporter.packages.terms import GEMMA_NOTICE, GEMMA_TERMS, read_terms
from exporter.parity.results import ParityReport
from exporter.report.card import build_card
from exporter.report.write import read_report
from parity_tests.tiny_checkpoint import make_tiny_checkpoint


@pytest.fixture(scope="module")
def report(released: Path) -> ParityReport:
    return read_report(released / "parity.json")


def card_of(released: Path, report: ParityReport, checkpoint: Checkpoint) -> ModelCard:
    manifests = {a.name: read_manifest(released / a.name) for a in report.artifacts}
    return build_card(report, manifests=manifests, checkpoint=checkpoint)


def with_readme(tiny_path: Path, tmp_path: Path, text: str) -> Checkpoint:
    folder = Path(shutil.copytree(tiny_path, tmp_path / "tiny"))
    (folder / "README.md").write_text(text, encoding="utf-8")
    return read_checkpoint(folder)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["card", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_card_is_read_back_with_the_figures_of_the_report(
    released: Path, report: ParityReport, tiny_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "README.md"
    assert (
        run(
            "--report",
            released / "parity.json",
            "--checkpoint",
            tiny_path,
            "--output",
            path,
            "--quiet",
        )
        == 0
    )
    card = ModelCard.load(path)
    assert card.data.model_name == "tiny"
    name, results = model_index_to_eval_results(card.data.to_dict()["model-index"])
    assert name == "tiny"
    found = {(r.metric_config, r.metric_type): r.metric_value for r in results}
    assert {r.dataset_revision for r in results} == {report.corpus_sha256}
    assert len(found) == len(results) == 4 * (len(report.artifacts) + 1)
    for artifact in report.artifacts:
        metrics = artifact.dims[0].deployed("both").metrics
        assert found[artifact.name, "cosine_mrr@10"] == pytest.approx(metrics.mrr_at_10, abs=1e-6)
        assert found[artifact.name, "cosine_accuracy@1"] == pytest.approx(metrics.top_1, abs=1e-6)
        assert f"| {artifact.name} |" in card.text
        assert artifact.manifest_sha256 in card.text
    bf16 = report.artifacts[0].dims[0].reference.mrr_at_10
    assert found["torch bf16", "cosine_mrr@10"] == pytest.approx(bf16, abs=1e-6)
    assert card.data.tags == ["sentence-transformers", "feature-extraction", "gguf", "onnx"]
    assert "`title: none | text: {title} {text}`" in card.text
    header = next(line for line in card.text.splitlines() if line.startswith("| file | size"))
    rows = [
        line for line in card.text.splitlines() if line.startswith(("| onnx-int8 | 0", "| gguf"))
    ]
    assert {row.count("|") for row in rows if "MB" in row} == {header.count("|")}


def test_the_same_report_gives_the_same_card(
    released: Path, report: ParityReport, tiny: Checkpoint
) -> None:
    assert str(card_of(released, report, tiny)) == str(card_of(released, report, tiny))


def test_what_did_not_pass_is_named_and_not_in_the_model_index(
    released: Path, report: ParityReport, tiny: Checkpoint
) -> None:
    failed = report.artifacts[0].model_copy(
        update={"verdict": "undecided", "reasons": ("dim 64: MRR@10 reaches past its margin",)}
    )
    mixed = report.model_copy(update={"artifacts": (failed, *report.artifacts[1:])})
    card = card_of(released, mixed, tiny)
    assert {r.metric_config for r in card.data.eval_results or []} == {"torch bf16", "gguf-q8_0"}
    assert "Judged, not passed, and not packaged" in card.text
    assert "- onnx-int8: dim 64: MRR@10 reaches past" in card.text
    nothing = report.model_copy(
        update={
            "artifacts": tuple(
                a.model_copy(update={"verdict": "fail", "reasons": ("x",)})
                for a in report.artifacts
            )
        }
    )
    card = card_of(released, nothing, tiny)
    assert card.data.eval_results is None
    assert "No file passed; none is offered." in card.text


def test_a_licence_is_stated_as_the_checkpoints_card_states_it(
    released: Path, report: ParityReport, tiny_path: Path, tmp_path: Path
) -> None:
    text = "---\nlicense: other\nlicense_name: example\nlicense_link: LICENSE\nlanguage: zh\n---\n"
    card = card_of(released, report, with_readme(tiny_path, tmp_path, text))
    assert (card.data.license, card.data.license_name) == ("other", "example")
    assert card.data.language == ["zh"]
    assert "states the licence `other` (example): LICENSE" in card.text
    assert "Gemma Terms" not in card.text


def test_a_licence_that_is_not_stated_is_not_invented(
    released: Path, report: ParityReport, tiny: Checkpoint
) -> None:
    card = card_of(released, report, tiny)
    assert card.data.license is None
    assert "Licence of the original: not stated" in card.text
    assert "Base model: not stated." in card.text


def test_a_gemma_base_brings_its_terms_and_its_notice(
    released: Path, report: ParityReport, tiny_path: Path, tmp_path: Path
) -> None:
    text = "---\nbase_model: google/embeddinggemma-300m\n---\n# A model\n"
    card = card_of(released, report, with_readme(tiny_path, tmp_path, text))
    assert card.data.base_model == ["google/embeddinggemma-300m"]
    assert card.data.license is None
    assert GEMMA_TERMS in card.text
    assert GEMMA_NOTICE in card.text
    assert "not stated" in card.text


@pytest.mark.parametrize(
    "text",
    ["---\nlicense: [\n---\n", "---\n- a list\n---\n", "---\nlicense: {a: 1}\n---\n", "no card"],
)
def test_a_strange_front_matter_states_nothing_or_is_refused(
    tiny_path: Path, tmp_path: Path, text: str
) -> None:
    checkpoint = with_readme(tiny_path, tmp_path, text)
    if text.startswith("---\nlicense: [") or "- a list" in text:
        with pytest.raises(BadInput, match=r"front matter of .* is not valid YAML"):
            read_terms(checkpoint)
    else:
        assert read_terms(checkpoint).licence is None


def test_a_card_of_another_checkpoint_is_refused(
    released: Path, report: ParityReport, tmp_path: Path
) -> None:
    other = read_checkpoint(make_tiny_checkpoint(tmp_path / "tiny", seed=9))
    with pytest.raises(BadInput, match=r"the report is not about .*model.safetensors differs"):
        card_of(released, report, other)


def test_the_command_refuses_what_it_cannot_vouch_for(
    released: Path, tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--checkpoint", tiny_path, "--quiet")

    def refused(*arguments: object, words: str) -> None:
        assert run(*arguments, *common) == 2
        line = capsys.readouterr().err.strip()
        assert words in line
        assert "\n" not in line

    report = released / "parity.json"
    output = tmp_path / "README.md"
    refused("--report", tmp_path / "none.json", words="no parity report at")
    output.write_text("mine")
    refused("--report", report, "--output", output, words="exists; name another --output or pass")
    refused("--report", report, "--output", tmp_path, words="is a folder; name a file")
    assert output.read_text() == "mine"
    assert run("--report", report, "--output", output, "--force", *common) == 0
    assert output.read_text("utf-8").startswith("---\n")
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(report, moved / "parity.json")
    refused("--report", moved / "parity.json", words="no such artifact folder")
    artifacts = [released / "onnx-int8", released / "gguf-q8_0"]
    assert run(*artifacts, "--report", moved / "parity.json", *common) == 0
    assert (moved / "README.md").is_file()
    changed = Path(shutil.copytree(released / "onnx-int8", tmp_path / "onnx-int8"))
    manifest = changed / "manifest.json"
    manifest.write_text(manifest.read_text("utf-8").replace('"max_tokens": 64', '"max_tokens": 63'))
    refused(changed, "--report", report, "--output", tmp_path / "c.md", words="holds no verdict on")
    shutil.copytree(changed, moved / "onnx-int8")
    shutil.copytree(released / "gguf-q8_0", moved / "gguf-q8_0")
    refused(
        "--report",
        moved / "parity.json",
        "--output",
        tmp_path / "d.md",
        words="is not the onnx-int8 that",
    )


def test_what_only_the_author_knows_is_marked(
    released: Path, report: ParityReport, tiny: Checkpoint, tiny_path: Path, tmp_path: Path
) -> None:
    card = card_of(released, report, tiny)
    assert "**Only its author knows its language, its licence, its base model.**" in card.text
    card = card_of(released, report.model_copy(update={"model_name": "checkpoint-1371"}), tiny)
    assert "# [title of your model] in " in card.text
    assert "its title (the folder is called `checkpoint-1371`)" in card.text
    text = "---\nlanguage: zh\nlicense: mit\nbase_model: someone/something\n---\n"
    known = card_of(released, report, with_readme(tiny_path, tmp_path, text))
    assert "Only its author knows" not in known.text


def test_the_snippet_of_the_card_runs(
    released: Path, report: ParityReport, tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = card_of(released, report, tiny)
    code = card.text.split("```python\n")[1].split("```")[0]
    found: dict[str, Any] = {}
    monkeypatch.chdir(released)
    exec(code, found)  # what a reader of the card does
    vectors = found["vectors"]
    assert vectors.shape == (1, report.artifacts[0].dims[0].dim)
    assert float((vectors**2).sum()) == pytest.approx(1, abs=1e-5)
    assert "ollama create tiny-q8_0 -f Modelfile" in card.text
